package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/wakehq/wake/events/recording"
	"github.com/wakehq/wake/events/segment"
)

func exportCommand(place *location) *cobra.Command {
	var from, to, secrets, output string
	c := &cobra.Command{
		Use:   "export [--from <moment>] [--to <moment>] [-o FILE]",
		Short: "Write history into one portable file, to be replayed, verified or asked elsewhere",
		Long: "Write history into one portable file: the state before the first event and every event after it. \"wake replay\", \"wake verify --file\" and\n" +
			"\"wake what-if --file\" read it on any machine. Secrets are in it as sealed as in the ledger: they open with this cluster's key only. A moment is\n" + momentForms + ".",
		Example: `  wake export -o monday.wake
  wake export --from -1h --secrets dropped -o incident.wake`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if secrets != "sealed" && secrets != "dropped" {
				return fmt.Errorf("--secrets %s: say sealed or dropped", secrets)
			}
			o := recording.Options{DropSecrets: secrets == "dropped"}
			reader, done, err := exporter(cmd, place, from, to, &o)
			if err != nil {
				return err
			}
			defer func() { _ = done() }()
			if output == "-" {
				_, err := reader(cmd.OutOrStdout())
				return err
			}
			if output == "" {
				output = fmt.Sprintf("wake-%s.wake", time.Now().Format("20060102-150405"))
			}
			return exportTo(cmd, output, reader)
		},
	}
	f := c.Flags()
	f.StringVar(&from, "from", "", "begin with what happened after this moment (default: the oldest that is held)")
	f.StringVar(&to, "to", "", "end with this moment (default: now)")
	f.StringVar(&secrets, "secrets", "sealed", "sealed: as in the ledger; dropped: without what they hold")
	f.StringVarP(&output, "output", "o", "", "the file, or - for standard output (default: wake-<date>-<time>.wake)")
	return c
}

// exporter returns what writes the recording that is asked for: the running cluster, or this process for one that is stopped.
func exporter(cmd *cobra.Command, place *location, from, to string, o *recording.Options) (write func(io.Writer) (int64, error), done func() error, err error) {
	moments := [2]string{from, to}
	for i := range moments {
		if moments[i] == "" {
			continue
		}
		if moments[i], err = parseMoment(moments[i], time.Now()); err != nil {
			return nil, nil, err
		}
	}
	if _, err := place.serving(); err == nil {
		return func(out io.Writer) (int64, error) {
			return place.export(cmd.Context(), out, moments[0], moments[1], o.DropSecrets)
		}, func() error { return nil }, nil
	}
	h, err := openHistory(cmd.Context(), place, stretch{})
	if err != nil {
		return nil, nil, err
	}
	if err := h.resolve(cmd.Context(), moments[0], moments[1], &o.From, &o.To); err != nil {
		return nil, nil, errors.Join(err, h.close())
	}
	id, err := place.load()
	if err != nil {
		return nil, nil, errors.Join(err, h.close())
	}
	o.Cluster, o.Deciders = id.ID, h.deciding.settings()
	return func(out io.Writer) (int64, error) {
		counted := &countingWriter{out: out}
		_, err := recording.Write(cmd.Context(), counted, h.sealed, *o)
		return counted.size, err
	}, h.close, nil
}

type countingWriter struct {
	out  io.Writer
	size int64
}

func (w *countingWriter) Write(data []byte) (int, error) {
	n, err := w.out.Write(data)
	w.size += int64(n)
	return n, err
}

// exportTo writes a file whole or not at all.
func exportTo(cmd *cobra.Command, name string, write func(io.Writer) (int64, error)) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".part-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20)
	_, err = write(buffered)
	if err = errors.Join(err, buffered.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	r, err := segment.OpenFile(f.Name())
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	cmd.PrintErrf("Exported %s to %s (%s).\n", describeRecording(r), name, units.BytesSize(float64(r.Size())))
	return nil
}

// describeRecording says what a recording is of.
func describeRecording(r *segment.Reader) string {
	header, footer := r.Header(), r.Footer()
	if footer.Events == 0 {
		return fmt.Sprintf("the state at revision %d", header.Base)
	}
	text := fmt.Sprintf("%d events, revisions %d to %d", footer.Events, header.Base+1, footer.Last)
	if header.Base > 0 {
		text += fmt.Sprintf(", and the state before them (%d facets)", footer.Facets)
	}
	return text
}
