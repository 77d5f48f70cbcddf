package main

import (
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wakehq/wake/agent/plan"
	"github.com/wakehq/wake/events"
	"github.com/wakehq/wake/gateway"
	"github.com/wakehq/wake/services/feed"
	"github.com/wakehq/wake/services/garbage"
	"github.com/wakehq/wake/services/ingress"
	"github.com/wakehq/wake/services/job"
	"github.com/wakehq/wake/services/loadbalancer"
	"github.com/wakehq/wake/services/namespace"
	"github.com/wakehq/wake/services/node"
	"github.com/wakehq/wake/services/nodeipam"
	"github.com/wakehq/wake/services/replication"
	"github.com/wakehq/wake/services/scheduler"
	"github.com/wakehq/wake/services/service"
)

// release is the version of a build that has no module version of its own.
const release = "0.1.0"

// version returns the module's version, as "go install" recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(info.Main.Version, "v") {
		return strings.TrimPrefix(info.Main.Version, "v")
	}
	return release
}

func docsCommand() *cobra.Command {
	docs := &cobra.Command{Use: "docs", Short: "Print the reference documents that are made from the code", Hidden: true}
	docs.AddCommand(&cobra.Command{
		Use: "events", Short: "Print the catalogue of event types", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return printCatalogue(cmd.OutOrStdout()) },
	})
	return docs
}

// catalogue is every event type, by who writes it.
func catalogue() []events.TypeDoc {
	return slices.Concat(gateway.EventTypes, scheduler.EventTypes, replication.EventTypes, job.EventTypes, service.EventTypes, loadbalancer.EventTypes, ingress.EventTypes,
		garbage.EventTypes, namespace.EventTypes, node.EventTypes, nodeipam.EventTypes, feed.EventTypes, plan.EventTypes)
}

func printCatalogue(out io.Writer) error {
	var b strings.Builder
	b.WriteString("# Event types\n\nMade by `go tool task generate` from the lists that each part keeps of what it writes. `<Kind>` stands for any kind.\n\n| Type | Written by | What has happened |\n| --- | --- | --- |\n")
	for _, doc := range catalogue() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(doc.Type), cell(doc.By), cell(doc.Meaning))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// cell keeps a table's cell one cell: no bars, and no angle brackets that read as tags.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;").Replace(s)
}
