package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// The formats that answers are written in, beside that for people.
const (
	asJSON = "json"
	asYAML = "yaml"
)

// outputFlag adds -o to a command; shape says what the document holds.
func outputFlag(c *cobra.Command, into *string, shape string) {
	c.Flags().StringVarP(into, "output", "o", "", "json or yaml: "+shape)
}

func checkOutput(format string) error {
	switch format {
	case "", asJSON, asYAML:
		return nil
	}
	return fmt.Errorf("--output %s: only json and yaml are known", format)
}

// writeValue writes one document: indented JSON, or YAML.
func writeValue(out io.Writer, format string, value any) error {
	if format == asYAML {
		text, err := yaml.Marshal(value)
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// writeItem writes one of a stream of documents: JSON on a line of its own, or YAML after a separator.
func writeItem(out io.Writer, format string, value any) error {
	if format == asYAML {
		if _, err := fmt.Fprintln(out, "---"); err != nil {
			return err
		}
		return writeValue(out, format, value)
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// onTerminal says that what is written is read by a person as it comes.
func onTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// clockTime words a time of today by the clock, any other with its date.
func clockTime(t, now time.Time) string {
	t, now = t.In(now.Location()), now.In(now.Location())
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

// span words how long something took, to about three digits: 12ms, 1.24s, 3m20s, 5h10m.
func spanWords(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return d.Round(time.Minute).String()[:len(d.Round(time.Minute).String())-len("0s")]
}

// count words a number of things: "1 object", "2 objects".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
