package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/services/simulation"
)

// whatIfBase is what a what-if begins with.
type whatIfBase struct {
	state *events.State
	// deciders gives the cluster's deciders. The scheduler's settings are those of a file; those that the cluster has if the name is empty. The node
	// service must take itself to have listened forever (node.Node{}): the time in which it lives is not that of this process.
	deciders func(schedulerConfig string) (simulation.Services, error)
}

// whatIfOptions are the flags of "wake what-if".
type whatIfOptions struct {
	from, namespace, scheduler, output string
	apply, deletes, scales             []string
	cordon, drain, kill                []string
	span                               time.Duration
	nodes                              simulation.Nodes
	verbose                            bool
}

// whatIfCommand asks about the state that open gives for a moment (as parseMoment returns it; empty is the present).
func whatIfCommand(open func(ctx context.Context, moment string) (*whatIfBase, error)) *cobra.Command {
	o := &whatIfOptions{}
	c := &cobra.Command{
		Use:   "what-if",
		Short: "Ask what would happen if a node were lost, a manifest applied, …: nothing is written",
		Long: "Ask what would happen. The state of the cluster at a moment is copied into memory, and the cluster's own deciders run on it in virtual\n" +
			"time, with nodes that only pretend. Several flags are one question. A moment is " + momentForms + ".",
		Example: `  wake what-if --kill n3                            where would its pods go, and when?
  wake what-if --apply web.yaml                     would it fit? would it roll out?
  wake what-if --drain n1 --drain n2 --for 1h
  wake what-if --from 1042 --scale deployment/web=40
  wake what-if --drain n1 --scheduler-config pack.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			question, err := o.question(cmd.InOrStdin())
			if err != nil {
				return err
			}
			moment := ""
			if o.from != "" {
				if moment, err = parseMoment(o.from, time.Now()); err != nil {
					return err
				}
			}
			base, err := open(cmd.Context(), moment)
			if err != nil {
				return err
			}
			report, err := o.ask(cmd.Context(), base, question)
			if err != nil {
				return err
			}
			return o.print(cmd.OutOrStdout(), report)
		},
	}
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "the moment to begin with (default: now)")
	f.StringArrayVarP(&o.apply, "apply", "f", nil, "apply the objects of a file, or of stdin (-), as \"kubectl apply\" does")
	f.StringArrayVar(&o.deletes, "delete", nil, "delete an object: <kind>/<name>")
	f.StringArrayVar(&o.scales, "scale", nil, "set an object's replicas: <kind>/<name>=<n>")
	f.StringArrayVar(&o.cordon, "cordon", nil, "let no more pods onto a node")
	f.StringArrayVar(&o.drain, "drain", nil, "cordon a node and evict its pods")
	f.StringArrayVar(&o.kill, "kill", nil, "let a node fall silent, as a power cut does")
	f.StringVar(&o.scheduler, "scheduler-config", "", "let the scheduler place by the settings of a file")
	f.DurationVar(&o.span, "for", simulation.DefaultSpan, "how much virtual time passes")
	f.DurationVar(&o.nodes.Start, "pod-start", 2*time.Second, "how long a pod takes to start on a simulated node")
	f.DurationVar(&o.nodes.Finish, "pod-run", 10*time.Second, "how long pods run that come to an end, such as those of Jobs")
	f.StringVarP(&o.namespace, "namespace", "n", "", "the namespace of objects that name none")
	f.StringVarP(&o.output, "output", "o", "", "wide: name every pod; json or yaml: the whole report")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "name every pod, as -o wide does")
	return c
}

// question reads what is asked from the flags.
func (o *whatIfOptions) question(stdin io.Reader) (q simulation.Question, err error) {
	if !slices.Contains([]string{"", "wide", "json", "yaml"}, o.output) {
		return q, fmt.Errorf("-o %s: what-if prints wide, json or yaml", o.output)
	}
	if o.span <= 0 {
		return q, fmt.Errorf("--for %s: time only passes forward; say how much, as in 30m", o.span)
	}
	if o.nodes.Start <= 0 || o.nodes.Finish <= 0 {
		return q, fmt.Errorf("--pod-start %s, --pod-run %s: each takes some time", o.nodes.Start, o.nodes.Finish)
	}
	q = simulation.Question{Namespace: o.namespace, For: o.span, Nodes: o.nodes, Cordon: o.cordon, Drain: o.drain, Kill: o.kill}
	for _, name := range o.apply {
		m := simulation.Manifest{Name: name}
		if name == "-" {
			m.Name = "stdin"
			m.Data, err = io.ReadAll(stdin)
		} else {
			m.Data, err = os.ReadFile(name)
		}
		if err != nil {
			return q, fmt.Errorf("--apply %s: %w", name, err)
		}
		q.Apply = append(q.Apply, m)
	}
	for _, text := range o.deletes {
		ref, err := parseObject([]string{text}, o.namespace)
		if err != nil {
			return q, fmt.Errorf("--delete %w", err)
		}
		q.Delete = append(q.Delete, ref)
	}
	for _, text := range o.scales {
		object, count, _ := strings.Cut(text, "=")
		replicas, err := strconv.ParseInt(count, 10, 32)
		if err != nil || replicas < 0 {
			return q, fmt.Errorf("--scale %s: say <kind>/<name>=<replicas>, as in deployment/web=10", text)
		}
		ref, err := parseObject([]string{object}, o.namespace)
		if err != nil {
			return q, fmt.Errorf("--scale %w", err)
		}
		q.Scale = append(q.Scale, simulation.Scaling{Ref: ref, Replicas: int32(replicas)})
	}
	if o.scheduler != "" {
		q.Scheduler = "the scheduler placed by " + o.scheduler
	}
	if len(q.Apply)+len(q.Delete)+len(q.Scale)+len(q.Cordon)+len(q.Drain)+len(q.Kill) == 0 && q.Scheduler == "" {
		return q, errors.New("nothing is asked: say what to do, as in --kill <node>, --apply <file>, --scale deployment/web=10 (see --help)")
	}
	return q, nil
}

// ask runs the cluster as it is and as it would be.
func (o *whatIfOptions) ask(ctx context.Context, base *whatIfBase, q simulation.Question) (*simulation.Report, error) {
	present, err := base.deciders("")
	if err != nil {
		return nil, err
	}
	changed := present
	if o.scheduler != "" {
		if changed, err = base.deciders(o.scheduler); err != nil {
			return nil, fmt.Errorf("--scheduler-config: %w", err)
		}
	}
	return simulation.Ask(ctx, base.state, present, changed, q)
}

// print writes the report in the form asked for.
func (o *whatIfOptions) print(out io.Writer, r *simulation.Report) error {
	switch o.output {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	case "yaml":
		text, err := yaml.Marshal(r)
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	text := (&whatIfPrinter{Report: r, all: o.verbose || o.output == "wide"}).text()
	_, err := io.WriteString(out, text)
	return err
}
