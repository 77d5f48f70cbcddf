package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	units "github.com/docker/go-units"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wakehq/wake/events/trust"
	"github.com/wakehq/wake/gateway/ledgerapi"
)

func statusCommand(place *location) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the cluster is doing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := place.serving()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if r.PID == 0 {
				fmt.Fprintf(out, "Cluster   as %s says\n", place.credentials())
			} else {
				fmt.Fprintf(out, "Cluster   running since %s (%s), process %d, data in %s\n", r.Started.Local().Format("2006-01-02 15:04:05"), time.Since(r.Started).Round(time.Second), r.PID, place.dir)
			}
			fmt.Fprintf(out, "API       %s\n", r.URL)
			if err := printLedger(cmd.Context(), out, place); err != nil {
				return err
			}
			return printObjects(cmd.Context(), out, place)
		},
	}
}

func printLedger(ctx context.Context, out io.Writer, place *location) error {
	client, err := place.ledgerClient()
	if err != nil {
		return err
	}
	s, err := client.status(ctx, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Ledger    revision %d", s.Revision)
	if size := diskUse(place.broker()); size > 0 { // of a cluster in another process, or elsewhere, it isn't known
		fmt.Fprintf(out, ", %s on disk", units.BytesSize(float64(size)))
	}
	fmt.Fprintln(out)
	if s.Failing != "" {
		fmt.Fprintf(out, "          FAILING: %s\n", s.Failing)
	}
	if s.Notes != "" {
		fmt.Fprintf(out, "          events from before the start are not shown: %s\n", s.Notes)
	}
	printArchive(out, s.Archive)
	printWitness(out, s.Witness)
	if s.SetAsideCount > 0 {
		fmt.Fprintf(out, "          %d events set aside, the newest:\n", s.SetAsideCount)
		for _, a := range s.SetAside {
			fmt.Fprintf(out, "            %d %s: %s\n", a.Revision, a.Subject, a.Reason)
		}
	}
	return nil
}

// status asks how the ledger is doing.
func (c *ledgerClient) status(ctx context.Context, query url.Values) (s ledgerapi.Status, err error) {
	body, err := c.get(ctx, "status", query)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if err := json.NewDecoder(body).Decode(&s); err != nil {
		return s, fmt.Errorf("reading the ledger's status: %w", err)
	}
	return s, nil
}

func printArchive(out io.Writer, a *ledgerapi.ArchiveStatus) {
	if a == nil {
		return
	}
	switch {
	case a.Segments == 0:
		fmt.Fprintf(out, "Archive   empty; the stream holds all\n")
	case a.Trimmed == 0:
		fmt.Fprintf(out, "Archive   revisions %d to %d in %d segments, %s (%.0f bytes an event); the stream holds all\n", a.First, a.Last, a.Segments, units.BytesSize(float64(a.Bytes)), a.BytesPerEvent)
	default:
		fmt.Fprintf(out, "Archive   revisions %d to %d in %d segments, %s (%.0f bytes an event); the stream begins at %d\n", a.First, a.Last, a.Segments, units.BytesSize(float64(a.Bytes)), a.BytesPerEvent, a.Trimmed+1)
	}
	if a.Failing != "" {
		fmt.Fprintf(out, "          FAILING: %s\n", a.Failing)
	}
}

func printWitness(out io.Writer, w *trust.Status) {
	if w == nil {
		return
	}
	fmt.Fprintf(out, "Witness   revision %d", w.Revision)
	if c := w.Checkpoint; c != nil && c.Revision > 0 {
		fmt.Fprintf(out, ", signed up to %d at %s", c.Revision, c.Time.Local().Format(time.TimeOnly))
	}
	fmt.Fprintf(out, ", in %s\n", w.Dir)
	if w.Broken != nil {
		fmt.Fprintf(out, "          BROKEN: %s\n", w.Broken)
	}
	if w.Failing != "" {
		fmt.Fprintf(out, "          FAILING: %s\n", w.Failing)
	}
}

// diskUse adds up the sizes of the files below dir, in bytes; what vanishes meanwhile doesn't count.
func diskUse(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil // a file that vanishes while it is looked at takes no space
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil
	})
	return total
}

func printObjects(ctx context.Context, out io.Writer, place *location) error {
	config, err := clientcmd.BuildConfigFromFlags("", place.credentials())
	if err != nil {
		return fmt.Errorf("reading the kubeconfig %s: %w", place.credentials(), err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	nodes, errNodes := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	pods, errPods := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err := errors.Join(errNodes, errPods); err != nil {
		return fmt.Errorf("asking the API: %w", err)
	}
	ready := 0
	for _, n := range nodes.Items {
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
				ready++
			}
		}
	}
	fmt.Fprintf(out, "Nodes     %d of %d ready\n", ready, len(nodes.Items))
	if len(pods.Items) == 0 {
		fmt.Fprintln(out, "Pods      none; wake kubectl apply -f FILE starts some")
		return nil
	}
	phases := map[corev1.PodPhase]int{}
	for _, p := range pods.Items {
		phases[p.Status.Phase]++
	}
	var counts []string
	for _, phase := range []corev1.PodPhase{corev1.PodRunning, corev1.PodPending, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown} {
		if phases[phase] > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", phases[phase], strings.ToLower(string(phase))))
		}
	}
	fmt.Fprintf(out, "Pods      %s\n", strings.Join(counts, ", "))
	return nil
}
