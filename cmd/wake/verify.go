package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/wakehq/wake/events/segment"
	"github.com/wakehq/wake/events/trust"
	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/services/verify"
)

// verifyOptions are the flags of "wake verify".
type verifyOptions struct {
	stretch
	scheduler, output, accept string
	checkpoints               []string
	only                      string

	marks []trust.Mark
}

// verification is what "wake verify" found out.
type verification struct {
	Source       string            `json:"source"`
	Proofs       []ledgerapi.Proof `json:"proofs,omitempty"`
	Unproven     string            `json:"unproven,omitempty"` // why the record could not be compared with a witness
	Decisions    *verify.Report    `json:"decisions,omitempty"`
	Undecided    string            `json:"undecided,omitempty"`    // why nothing was decided again
	LiveRevision uint64            `json:"liveRevision,omitempty"` // of the live view when it was asked
	LiveHash     string            `json:"liveHash,omitempty"`     // and the hash of its state
	Keyless      bool              `json:"keyless,omitempty"`      // Secrets could not be opened here, as the live view has them
}

const (
	onlyRecord    = "record"
	onlyDecisions = "decisions"
)

func verifyCommand(place *location) *cobra.Command {
	o := &verifyOptions{}
	c := &cobra.Command{
		Use:   "verify",
		Short: "Prove that the record is whole and unaltered, and decide all of it again",
		Long: `Prove that nothing was dropped from the record, altered or reordered: every event against what the cluster's notary has witnessed, in a directory apart from
the data. Then decide history again with this wake's own code, every decision on the state it was taken on and at its recorded time, and compare. And compare the
fold of history with what the running cluster takes for its state.

Everything is read, nothing is changed. The exit status is 1 if anything is wrong. It works on a running cluster, a stopped one, and an export. A moment is
` + momentForms + ".",
		Example: `  wake verify
  wake verify --checkpoint 1031:ab12…            against a checkpoint that you kept elsewhere
  wake verify --scheduler-config pack.yaml       what would another scheduler have done?
  wake verify --file monday.wake
  wake verify --accept "restored Friday's backup after the disk failed"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if o.accept != "" {
				return acceptBreak(cmd, place, o.accept)
			}
			return o.run(cmd, place)
		},
	}
	f := c.Flags()
	f.StringVar(&o.file, "file", "", "verify an export instead of the cluster")
	f.StringVar(&o.from, "from", "", "decide again only what was decided after this moment")
	f.StringVar(&o.to, "to", "", "verify only up to this moment")
	f.StringArrayVar(&o.checkpoints, "checkpoint", nil, "also prove against a checkpoint that was kept elsewhere: <revision>:<chain>")
	f.StringVar(&o.scheduler, "scheduler-config", "", "decide with a scheduler of this KubeSchedulerConfiguration, to see what it would have done")
	f.StringVar(&o.only, "only", "", "record or decisions: leave the other out")
	f.StringVar(&o.accept, "accept", "", "accept the break that was found in the record, for this reason: a new chain begins")
	outputFlag(c, &o.output, "everything that was found out")
	return c
}

func (o *verifyOptions) check() error {
	for _, text := range o.checkpoints {
		m, err := trust.ParseMark(text)
		if err != nil {
			return fmt.Errorf("--checkpoint: %w", err)
		}
		o.marks = append(o.marks, m)
	}
	if o.only != "" && o.only != onlyRecord && o.only != onlyDecisions {
		return fmt.Errorf("--only %s: say %s or %s", o.only, onlyRecord, onlyDecisions)
	}
	return checkOutput(o.output)
}

func (o *verifyOptions) run(cmd *cobra.Command, place *location) (err error) {
	ctx := cmd.Context()
	v := &verification{}
	if o.only != onlyDecisions {
		if err := o.prove(ctx, place, v); err != nil {
			return err
		}
	}
	if o.only != onlyRecord {
		if err := o.redecide(ctx, cmd, place, v); err != nil {
			return err
		}
	}
	if o.output != "" {
		err = writeValue(cmd.OutOrStdout(), o.output, v)
	} else {
		err = v.print(cmd.OutOrStdout())
	}
	return errors.Join(err, v.verdict())
}

// verdict is an error if anything is wrong.
func (v *verification) verdict() error {
	findings, diverged := 0, 0
	for i := range v.Proofs {
		findings += len(v.Proofs[i].Findings)
	}
	if v.Decisions != nil {
		diverged = v.Decisions.Diverged
	}
	switch {
	case findings > 0:
		return errors.New("the record is not what was witnessed")
	case diverged > 0:
		return fmt.Errorf("%s of what was recorded", count(diverged, "divergence", "divergences"))
	case v.LiveHash != "" && v.Decisions != nil && v.LiveHash != v.Decisions.Hash && !v.Keyless:
		return errors.New("the live view is not what history comes to")
	case v.Undecided != "":
		return errors.New("history could not be decided again")
	}
	return nil
}

// incomplete says that the record may lack events: something is wrong with it, or was and has been accepted.
func (v *verification) incomplete() bool {
	return slices.ContainsFunc(v.Proofs, func(p ledgerapi.Proof) bool { return len(p.Findings)+len(p.Breaks) > 0 })
}

// prove compares the record with what was witnessed of it.
func (o *verifyOptions) prove(ctx context.Context, place *location, v *verification) (err error) {
	_, stopped := place.serving()
	switch {
	case o.file != "":
		err = o.proveFile(ctx, place, v)
	case stopped == nil:
		v.Proofs, err = place.proofs(ctx, o.checkpoints)
	default:
		id, loadErr := place.load()
		if loadErr != nil {
			return stopped
		}
		s, openErr := openStopped(ctx, place, id)
		if err = openErr; err == nil {
			v.Proofs, err = proveStore(ctx, s, place.trust(id), place.checkpointKey(), o.marks)
		}
		var damage *segment.DamageError
		if errors.As(err, &damage) { // of what is read before anything is proven
			v.Proofs, err = damagedProof(damage), nil
		}
		err = errors.Join(err, s.close())
	}
	if errors.Is(err, fs.ErrNotExist) {
		v.Unproven, err = "there is no witness: "+err.Error(), nil
	}
	return err
}

// proveFile proves an export against the witness of its cluster, if that is the one at place, and against checkpoints kept elsewhere.
func (o *verifyOptions) proveFile(ctx context.Context, place *location, v *verification) (err error) {
	h, err := openHistory(ctx, place, o.stretch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	options := trust.Options{Marks: o.marks, From: h.first, To: h.last}
	if id, loadErr := place.load(); loadErr == nil && id.ID == h.cluster {
		options.Dir = place.trust(id)
		if options.Key, err = trust.PublicKey(place.checkpointKey()); err != nil {
			return err
		}
	} else if len(o.marks) == 0 {
		v.Unproven = "the witness of that cluster isn't here, and no --checkpoint was given"
		return nil
	}
	report, err := trust.Check(ctx, h.sealed, options)
	v.Proofs = []ledgerapi.Proof{{Place: h.source, Report: report}}
	return err
}

// proofs has the running cluster prove its record.
func (l *location) proofs(ctx context.Context, checkpoints []string) (out []ledgerapi.Proof, err error) {
	client, err := l.ledgerClient()
	if err != nil {
		return nil, err
	}
	body, err := client.get(ctx, "proof", url.Values{"checkpoint": checkpoints})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	return out, json.NewDecoder(body).Decode(&out)
}

// redecide decides history again.
func (o *verifyOptions) redecide(ctx context.Context, cmd *cobra.Command, place *location, v *verification) (err error) {
	if o.file == "" && o.to == "" {
		if err := o.askLive(ctx, place, v); err != nil {
			return err
		}
	}
	wanted := o.stretch
	wanted.from = "" // decisions are compared from there on, but history is folded from its beginning
	if v.LiveRevision > 0 {
		wanted.to = strconv.FormatUint(v.LiveRevision, 10)
	}
	h, err := openHistory(ctx, place, wanted)
	if err != nil {
		if v.Undecided = err.Error(); v.incomplete() {
			v.Undecided += ". History is decided again as a whole: put back what is missing, or stop the cluster and verify what is left"
		}
		return nil
	}
	defer func() { err = errors.Join(err, h.close()) }()
	v.Source, v.Keyless = h.source, h.keyless
	scheduling, err := schedulerConfig(o.scheduler)
	if err != nil {
		return err
	}
	config := verify.Config{Ledger: h.ledger, Registry: h.registry, Deciders: h.deciders(scheduling)}
	if err := h.resolve(ctx, o.from, wanted.to, &config.From, &config.To); err != nil {
		return err
	}
	if h.first > 1 {
		if config.Start, err = h.state(ctx, h.first-1); err != nil {
			return err
		}
	}
	if onTerminal(cmd.ErrOrStderr()) {
		config.Progress = progressLine(cmd)
	}
	report, err := verify.Run(ctx, config)
	if err != nil {
		v.Undecided = err.Error()
		return nil
	}
	v.Decisions = &report
	return nil
}

// askLive asks the running cluster what it takes for its state.
func (o *verifyOptions) askLive(ctx context.Context, place *location, v *verification) (err error) {
	if _, err := place.serving(); err != nil {
		return nil // a stopped cluster has no view
	}
	client, err := place.ledgerClient()
	if err != nil {
		return err
	}
	s, err := client.status(ctx, url.Values{"hash": {"1"}})
	if err != nil {
		return err
	}
	v.LiveRevision, v.LiveHash = s.Revision, s.Hash
	return nil
}

// progressLine shows on a terminal how far a verification has come.
func progressLine(cmd *cobra.Command) func(verify.Progress) {
	var shown time.Time
	return func(p verify.Progress) {
		if time.Since(shown) < 200*time.Millisecond {
			return
		}
		shown = time.Now()
		cmd.PrintErrf("\r\033[KDeciding again: revision %d of %d, %d decisions\r", p.Revision, p.Last, p.Decisions)
	}
}

// acceptBreak lets a new chain begin after a break that a person can explain.
func acceptBreak(cmd *cobra.Command, place *location, reason string) error {
	ctx := cmd.Context()
	if _, stopped := place.serving(); stopped != nil {
		return fmt.Errorf("a break is accepted while the cluster runs: %w", stopped)
	}
	client, err := place.ledgerClient()
	if err != nil {
		return err
	}
	answer, err := client.do(ctx, http.MethodPost, "proof/acceptances", nil, map[string]string{"reason": reason})
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	var accepted trust.Break
	if err := json.NewDecoder(answer.Body).Decode(&accepted); err != nil {
		return fmt.Errorf("reading the cluster's answer: %w", err)
	}
	cmd.Printf("Accepted: from revision %d on a new chain begins. What was found stays in the checkpoints: %s\n", accepted.Revision, accepted.Found)
	return nil
}

// live says whether the live view agrees with history.
func (v *verification) live() (agrees, known bool) {
	return v.Decisions != nil && v.LiveHash == v.Decisions.Hash, v.LiveHash != "" && v.Decisions != nil && v.Decisions.Revision == v.LiveRevision
}
