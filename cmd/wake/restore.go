package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/gateway/restore"
	"github.com/wakehq/wake/schemas"
)

// restoreOptions are what "wake restore" is told.
type restoreOptions struct {
	at, namespace, selector, output string
	allNamespaces, dryRun, yes      bool
	request                         restore.Request
}

func restoreCommand(place *location) *cobra.Command {
	o := &restoreOptions{}
	c := &cobra.Command{
		Use:   "restore <kind>/<name>… | namespace/<name> | <kind> [-l labels] --at <moment>",
		Short: "Bring back what was deleted or changed",
		Long: `Make the desired state of objects what it was at a moment, by new events: nothing in the ledger is rewritten, and the restoring can itself be undone.
A namespace comes back with all that was in it. All or nothing is done, in one step. What is to be done is shown first.

Left to their controllers: ReplicaSets, pods, endpoints and other things that are made by themselves (--with-owned brings them back, too). Left as they
are: objects that came later (--prune deletes them). Left out: Jobs and pods that had run to their end, for they would run again (--rerun).
A moment is ` + momentForms + ".",
		Example: `  wake restore namespace/shop --at -10m
  wake restore deployment/web -n shop --at "before event 1042"
  wake restore configmaps -l app=web -n shop --at 10:00 --dry-run`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, place, args) },
	}
	f := c.Flags()
	f.StringVar(&o.at, "at", "", "the moment to go back to")
	f.StringVarP(&o.namespace, "namespace", "n", metav1.NamespaceDefault, "the objects' namespace")
	f.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "the objects of all namespaces")
	f.StringVarP(&o.selector, "selector", "l", "", "only objects with these labels, as in app=web")
	f.BoolVar(&o.dryRun, "dry-run", false, "only show what would be done")
	f.BoolVarP(&o.yes, "yes", "y", false, "don't ask")
	outputFlag(c, &o.output, "the plan, object by object, and the events that carried it out")
	f.BoolVar(&o.request.Owned, "with-owned", false, "bring back what controllers make, too")
	f.BoolVar(&o.request.Prune, "prune", false, "delete what is selected now and wasn't there then")
	f.BoolVar(&o.request.Rerun, "rerun", false, "bring back Jobs and pods that had run to their end: they run again")
	_ = c.MarkFlagRequired("at")
	return c
}

func (o *restoreOptions) run(cmd *cobra.Command, place *location, args []string) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	var err error
	if o.request.At, err = parseMoment(o.at, time.Now()); err != nil {
		return err
	}
	if err := o.selectObjects(args); err != nil {
		return err
	}
	client, err := place.ledgerClient()
	if err != nil {
		return err
	}
	out := &restorePrinter{out: cmd.OutOrStdout()}
	plan, err := client.restore(cmd.Context(), o.request, true)
	if err != nil {
		return err
	}
	if o.output == "" {
		out.plan(plan)
	}
	if blocked := countActions(plan, restore.Blocked); blocked > 0 && !o.dryRun {
		return fmt.Errorf("nothing was restored: %d of %d objects can't be (see above)", blocked, len(plan.Objects))
	}
	if o.dryRun || plan.Events == 0 {
		return o.print(cmd.OutOrStdout(), plan)
	}
	if agreed, err := o.ask(cmd, plan); err != nil || !agreed {
		return err
	}
	// What was agreed to is what was shown, at the revision that it was shown for.
	o.request.Digest, o.request.At = plan.Digest, fmt.Sprint(plan.Revision)
	done, err := client.restore(cmd.Context(), o.request, false)
	if err != nil {
		return err
	}
	if o.output == "" {
		out.done(done)
	}
	return o.print(cmd.OutOrStdout(), done)
}

// selectObjects understands what of the cluster is meant.
func (o *restoreOptions) selectObjects(args []string) error {
	registry, err := schemas.NewRegistry()
	if err != nil {
		return err
	}
	o.request.LabelSelector = o.selector
	if len(args) == 1 && !strings.Contains(args[0], "/") {
		kind, ok := registry.Lookup(args[0])
		if !ok {
			return fmt.Errorf("%q is no kind of object; \"wake kubectl api-resources\" lists them", args[0])
		}
		storage := kind.Storage
		o.request.Kind = &restore.Ref{Group: storage.GroupVersion.Group, Resource: storage.Resource}
		if kind.Namespaced && !o.allNamespaces {
			o.request.Kind.Namespace = o.namespace
		}
		return nil
	}
	if o.selector != "" || o.allNamespaces {
		return errors.New("labels and --all-namespaces go with a kind, not with names: wake restore deployments -l app=web")
	}
	if len(args) == 2 && !strings.Contains(args[0], "/") {
		args = []string{args[0] + "/" + args[1]}
	}
	for _, arg := range args {
		ref, err := parseObject([]string{arg}, o.namespace)
		if err != nil {
			return err
		}
		if ref.Resource == "namespaces" && ref.Group == "" {
			if len(args) > 1 {
				return errors.New("a namespace is restored by itself: name one, and nothing else")
			}
			o.request.Namespace = ref.Name
			return nil
		}
		o.request.Objects = append(o.request.Objects, restore.Ref(ref))
	}
	return nil
}

// ask asks whether to go on.
func (o *restoreOptions) ask(cmd *cobra.Command, plan *restore.Answer) (bool, error) {
	if o.yes {
		return true, nil
	}
	if file, ok := cmd.InOrStdin().(*os.File); !ok || !onTerminal(file) {
		return false, errors.New("nothing was restored: there is no terminal to ask on; look at it with --dry-run and say --yes")
	}
	if _, err := fmt.Fprintf(cmd.ErrOrStderr(), "Restore? This appends %s. [y/N] ", count(plan.Events, "event", "events")); err != nil {
		return false, err
	}
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	if !slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(line))) {
		_, err = fmt.Fprintln(cmd.ErrOrStderr(), "Nothing was restored.")
		return false, err
	}
	return true, nil
}

func (o *restoreOptions) print(out io.Writer, answer *restore.Answer) error {
	if o.output == "" {
		return nil
	}
	return writeValue(out, o.output, answer)
}

func countActions(answer *restore.Answer, action restore.Action) (n int) {
	for _, line := range answer.Objects {
		if line.Action == action {
			n++
		}
	}
	return n
}

// restore asks the gateway to restore, or what that would come to.
func (c *ledgerClient) restore(ctx context.Context, wanted restore.Request, dryRun bool) (*restore.Answer, error) {
	query := url.Values{}
	if dryRun {
		query.Set("dryRun", "All")
	}
	response, err := c.do(ctx, http.MethodPost, "restore", query, wanted)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer := &restore.Answer{}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return nil, fmt.Errorf("reading the cluster's answer: %w", err)
	}
	return answer, nil
}
