package transcript

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/schemas"
	"github.com/wakehq/wake/services/runner"
	"github.com/wakehq/wake/services/runner/owned"
)

var update = flag.Bool("update", false, "write what the deciders do into the transcripts instead of comparing")

// Test runs the scripts that match pattern ("testdata/*.txt"), each in a world of its own, and compares what happens with what they say. With -update
// it writes what happens into them.
//
// A script is a list of steps: a line with the command, lines of YAML if it takes any, a line "----", and what came of it, up to an empty line. Lines
// that begin with # are for the reader. Of a pattern such as pods/default/web-* the optional number takes so many of the objects.
//
//	apply                         create or change the objects of the manifests, which follow
//	patch <ref>, status <ref>     change its desired or observed facet by the merge patch that follows
//	delete <pattern> [n]          as a client does
//	vanish <pattern> [n]          remove at once
//	bind <pattern> <node> [n]     place pods
//	ready <pattern> [n]           place pods that aren't yet, and report them running and ready
//	unready <pattern> [n]         the same, but not ready
//	finish <pattern> <phase> [n]  report pods that haven't ended Succeeded or Failed
//	pass <duration>               let time pass
//	restart                       replace all deciders by new ones
//	show <pattern> [prefix]       print the first one's fields, those that begin with prefix
//
// After each step the deciders act until they come to rest.
func Test(t *testing.T, registry *schemas.Registry, pattern string, deciders ...func() runner.Decider) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts match %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(NewWorld(registry, deciders...), string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s: not what the transcript says; go test -update writes it anew\n%s", file, firstDifference(string(want), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range w {
		if i >= len(g) || w[i] != g[i] {
			return fmt.Sprintf("line %d\n  want %s\n  got  %s", i+1, w[i], strings.Join(g[min(i, len(g)):min(i+1, len(g))], ""))
		}
	}
	return "more lines than wanted"
}

// play runs a script and returns it with what happened.
func play(w *World, script string) string {
	var out strings.Builder
	lines := strings.Split(strings.TrimRight(script, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		out.WriteString(line + "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var input []string
		for i++; i < len(lines) && lines[i] != "----"; i++ {
			input = append(input, lines[i])
			out.WriteString(lines[i] + "\n")
		}
		out.WriteString("----\n")
		for i+1 < len(lines) && lines[i+1] != "" {
			i++
		}
		before := len(w.entries)
		shown, err := w.step(strings.Fields(line), strings.Join(input, "\n"))
		out.WriteString(shown)
		for _, entry := range w.entries[before:] {
			out.WriteString(entry.Line())
		}
		if err != nil {
			out.WriteString("error: " + err.Error() + "\n")
		}
	}
	return out.String()
}

// step does one step and lets the deciders come to rest.
func (w *World) step(words []string, input string) (shown string, err error) {
	command, words := words[0], words[1:]
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch command {
	case "apply":
		for _, manifest := range bytes.Split([]byte(input), []byte("---\n")) {
			err = errors.Join(err, w.Apply(manifest))
		}
	case "patch":
		err = w.each(arg(0), "", func(ref events.Ref) error { return w.Patch(ref, []byte(input)) })
	case "status":
		err = w.each(arg(0), "", func(ref events.Ref) error { return w.PatchStatus(ref, []byte(input)) })
	case "delete":
		err = w.each(arg(0), arg(1), w.Delete)
	case "vanish":
		err = w.each(arg(0), arg(1), w.Vanish)
	case "bind":
		err = w.each(arg(0), arg(2), func(ref events.Ref) error { return w.Bind(ref, arg(1)) })
	case "ready":
		err = w.report(arg(0), arg(1), corev1.PodRunning, true)
	case "unready":
		err = w.report(arg(0), arg(1), corev1.PodRunning, false)
	case "finish":
		err = w.report(arg(0), arg(2), corev1.PodPhase(arg(1)), false)
	case "pass":
		d, bad := time.ParseDuration(arg(0))
		err = errors.Join(bad, w.Pass(d))
	case "restart":
		for _, seat := range w.seats {
			seat.Restart()
		}
	case "show":
		err = w.each(arg(0), "1", func(ref events.Ref) error {
			shown = w.show(ref, arg(1))
			return nil
		})
	default:
		err = fmt.Errorf("there is no command %q", command)
	}
	return shown, errors.Join(err, w.Settle())
}

// report reports pods that match pattern, those left out that have the phase and readiness already, have finished or are ending.
func (w *World) report(pattern, limit string, phase corev1.PodPhase, ready bool) error {
	exitCode := int32(0)
	if phase == corev1.PodFailed {
		exitCode = 1
	}
	return w.some(pattern, limit, func(o *events.Object) bool {
		pod, ok := o.Typed().(*corev1.Pod)
		return ok && owned.Active(pod) && (pod.Status.Phase != phase || owned.Ready(pod) != ready)
	}, func(ref events.Ref) error {
		return errors.Join(w.Bind(ref, "n1"), w.Report(ref, phase, ready, exitCode))
	})
}

func (w *World) each(pattern, limit string, do func(events.Ref) error) error {
	return w.some(pattern, limit, func(*events.Object) bool { return true }, do)
}

// some does something to the objects that match pattern and that are eligible, to the first limit of them if there is a limit.
func (w *World) some(pattern, limit string, eligible func(*events.Object) bool, do func(events.Ref) error) error {
	refs, err := w.Find(pattern)
	if err != nil {
		return err
	}
	refs = slices.DeleteFunc(refs, func(ref events.Ref) bool {
		o, _ := w.state.Get(ref)
		return !eligible(o)
	})
	n, err := strconv.Atoi(cmp.Or(limit, strconv.Itoa(len(refs))))
	if err != nil || n > len(refs) {
		return fmt.Errorf("%s of %d objects that match %s: %w", limit, len(refs), pattern, cmp.Or(err, errors.New("too many")))
	}
	for _, ref := range refs[:n] {
		err = errors.Join(err, do(ref))
	}
	return err
}

func (w *World) show(ref events.Ref, prefix string) string {
	o, _ := w.state.Get(ref)
	var b strings.Builder
	all := fields(o)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(path, prefix) && !hidden.MatchString(path) {
			fmt.Fprintf(&b, "%s: %s\n", path, all[path])
		}
	}
	return b.String()
}
