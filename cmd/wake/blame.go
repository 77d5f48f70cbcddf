package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/wakehq/wake/gateway/ledgerapi"
	"github.com/wakehq/wake/schemas/fielddiff"
)

func blameCommand(place *location) *cobra.Command {
	var namespace, at, output string
	var status bool
	c := &cobra.Command{
		Use:   "blame <kind>/<name>",
		Short: "Show of each field of an object who set it last, when, and in which event",
		Long: `Show an object's manifest with, beside each line, the event that set it last, who made it and when. Entries of lists are told apart by their name (or what else
identifies them), so that one that is put in changes nothing about the others. Of a deleted object it shows what it was last.

A moment (--at) is ` + momentForms + `.`,
		Example: `  wake blame deployment/web
  wake blame deployment/web -n shop --at -1h
  wake blame pod/web-7d4b9-x2x7q --status`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			query, err := blameQuery(args, namespace, at, status, time.Now())
			if err == nil {
				err = checkOutput(output)
			}
			if err != nil {
				return err
			}
			client, err := place.ledgerClient()
			if err != nil {
				return err
			}
			body, err := client.get(cmd.Context(), "blame", query)
			if err != nil {
				return err
			}
			defer func() { _ = body.Close() }()
			var answer ledgerapi.Blame
			if err := json.NewDecoder(body).Decode(&answer); err != nil {
				return fmt.Errorf("reading the ledger's answer: %w", err)
			}
			if output != "" {
				return writeValue(cmd.OutOrStdout(), output, answer)
			}
			return printBlame(cmd.OutOrStdout(), &answer, time.Now())
		},
	}
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "the object's namespace")
	c.Flags().StringVar(&at, "at", "", "as of that moment")
	c.Flags().BoolVar(&status, "status", false, "show the status too")
	outputFlag(c, &output, "one document: ref, uid, at, object, fields (path, value, revision, stored, actor, type), events")
	return c
}

func blameQuery(args []string, namespace, at string, status bool, now time.Time) (url.Values, error) {
	r, err := parseObject(args, namespace)
	if err != nil {
		return nil, err
	}
	q := url.Values{"ref": {r.String()}, "status": {strconv.FormatBool(status)}}
	return q, setMoment(q, "at", at, now)
}

// setMoment puts a moment that a flag names into a query; an empty one is left out.
func setMoment(q url.Values, name, text string, now time.Time) error {
	if text == "" {
		return nil
	}
	moment, err := parseMoment(text, now)
	if err != nil {
		return fmt.Errorf("--%s: %w", name, err)
	}
	q.Set(name, moment)
	return nil
}

// blamedLine is a line of a manifest and the field that it shows; path is empty for a line that only begins a map or a list.
type blamedLine struct{ text, path string }

// manifest writes a value as YAML, line by line.
type manifest struct{ lines []blamedLine }

func (m *manifest) write(indent, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			m.field(indent, yamlScalar(key)+":", fielddiff.Join(path, key), v[key])
		}
	case []any:
		names := fielddiff.ItemNames(v)
		for i, item := range v {
			m.item(indent, path+"["+names[i]+"]", item)
		}
	}
}

func (m *manifest) field(indent, key, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		if len(v) > 0 {
			m.lines = append(m.lines, blamedLine{text: indent + key})
			m.write(indent+"  ", path, v)
			return
		}
	case []any:
		if len(v) > 0 {
			m.lines = append(m.lines, blamedLine{text: indent + key})
			m.write(indent, path, v)
			return
		}
	case string:
		if strings.Contains(v, "\n") {
			m.lines = append(m.lines, blamedLine{indent + key + " |", path})
			for _, l := range strings.Split(strings.TrimSuffix(v, "\n"), "\n") {
				m.lines = append(m.lines, blamedLine{indent + "  " + l, path})
			}
			return
		}
	}
	m.lines = append(m.lines, blamedLine{indent + key + " " + yamlScalar(value), path})
}

// item writes an entry of a list: its first line gets the dash.
func (m *manifest) item(indent, path string, value any) {
	first := len(m.lines)
	if _, nested := value.(map[string]any); nested {
		m.write(indent+"  ", path, value)
	}
	if len(m.lines) == first {
		m.lines = append(m.lines, blamedLine{indent + "- " + yamlScalar(value), path})
		return
	}
	m.lines[first].text = indent + "- " + m.lines[first].text[len(indent)+2:]
}

func yamlScalar(value any) string {
	text, err := yaml.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return strings.TrimSuffix(string(text), "\n")
}

// printBlame writes the manifest with a gutter: event, who, when. Where a line has the same event as the one above, its gutter steps back.
func printBlame(out io.Writer, b *ledgerapi.Blame, now time.Time) error {
	var fields map[string]any
	if err := json.Unmarshal(b.Object, &fields); err != nil {
		return fmt.Errorf("reading the ledger's answer: %w", err)
	}
	m := &manifest{}
	m.write("", "", withoutNulls(fields))
	byPath := map[string]ledgerapi.BlamedField{}
	number, who, when := 0, 0, 0
	for _, f := range b.Fields {
		byPath[f.Path] = f
		number, who, when = max(number, len(strconv.FormatUint(f.Revision, 10))), max(who, len(f.Actor)), max(when, len(clockTime(f.Stored, now)))
	}
	var text strings.Builder
	if e := b.Deleted; e != nil {
		text.WriteString(red.Sprintf("%s was deleted at %s by %s (event %d); before that it was:", short(b.Ref), clockTime(e.Stored, now), e.Actor, e.Revision) + "\n")
	}
	last := uint64(0)
	for _, l := range m.lines {
		gutter, f := strings.Repeat(" ", number+who+when+4), byPath[l.path]
		if l.path != "" && f.Revision != 0 {
			gutter = fmt.Sprintf("%*d  %-*s  %*s", number, f.Revision, who, f.Actor, when, clockTime(f.Stored, now))
			if f.Revision == last {
				gutter = faint.Sprint(gutter)
			}
			last = f.Revision
		}
		fmt.Fprintf(&text, "%s %s %s\n", gutter, faint.Sprint("│"), l.text)
	}
	_, err := io.WriteString(out, text.String())
	return err
}
