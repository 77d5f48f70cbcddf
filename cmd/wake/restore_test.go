package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/fatih/color"
	"github.com/stretchr/testify/require"

	"github.com/wakehq/wake/gateway/restore"
)

func TestWhatToRestore(t *testing.T) {
	deployment := restore.Ref{Group: "apps", Resource: "deployments", Namespace: "shop", Name: "web"}
	for _, test := range []struct {
		args    []string
		options restoreOptions
		want    restore.Request
	}{
		{[]string{"ns/shop"}, restoreOptions{}, restore.Request{Namespace: "shop"}},
		{[]string{"namespace", "shop"}, restoreOptions{}, restore.Request{Namespace: "shop"}},
		{[]string{"deploy/web"}, restoreOptions{namespace: "shop"}, restore.Request{Objects: []restore.Ref{deployment}}},
		{[]string{"deploy", "web"}, restoreOptions{namespace: "shop"}, restore.Request{Objects: []restore.Ref{deployment}}},
		{[]string{"deploy/web", "node/n1"}, restoreOptions{namespace: "shop"}, restore.Request{Objects: []restore.Ref{deployment, {Resource: "nodes", Name: "n1"}}}},
		{[]string{"cm"}, restoreOptions{namespace: "shop", selector: "a=b"},
			restore.Request{Kind: &restore.Ref{Resource: "configmaps", Namespace: "shop"}, LabelSelector: "a=b"}},
		{[]string{"cm"}, restoreOptions{namespace: "shop", allNamespaces: true}, restore.Request{Kind: &restore.Ref{Resource: "configmaps"}}},
	} {
		require.NoError(t, test.options.selectObjects(test.args), test.args)
		require.Equal(t, test.want, test.options.request, test.args)
	}
	for _, bad := range [][]string{{"nothing"}, {"nothing/x"}, {"ns/a", "ns/b"}} {
		o := restoreOptions{}
		require.Error(t, o.selectObjects(bad), bad)
	}
	o := restoreOptions{selector: "a=b"}
	require.ErrorContains(t, o.selectObjects([]string{"cm/x"}), "go with a kind")
}

func TestAPlanIsWorded(t *testing.T) {
	color.NoColor = true
	then := time.Now().Add(-10*time.Minute - 300*time.Millisecond)
	plan := &restore.Answer{Revision: 1042, Time: &then, Events: 3, Objects: []restore.Line{
		{Kind: "Namespace", Ref: restore.Ref{Resource: "namespaces", Name: "shop"}, Action: restore.Create},
		{Kind: "Service", Ref: restore.Ref{Resource: "services", Namespace: "shop", Name: "web"}, Action: restore.Create, Reason: "with a new cluster IP: service x/y has 10.96.0.7"},
		{Kind: "Secret", Ref: restore.Ref{Resource: "secrets", Namespace: "shop", Name: "db"}, Action: restore.Change,
			Changes: []restore.Field{{Path: "data.password", Now: restore.Hidden, Then: restore.Hidden}}},
		{Kind: "ConfigMap", Ref: restore.Ref{Resource: "configmaps", Namespace: "shop", Name: "same"}, Action: restore.Unchanged},
		{Kind: "Pod", Ref: restore.Ref{Resource: "pods", Namespace: "shop", Name: "p"}, Action: restore.Skip, Reason: "left to ReplicaSet x"},
		{Kind: "Endpoints", Ref: restore.Ref{Resource: "endpoints", Namespace: "shop", Name: "web"}, Action: restore.Skip, Reason: "left to Service web"},
		{Kind: "Job", Ref: restore.Ref{Group: "batch", Resource: "jobs", Namespace: "shop", Name: "once"}, Action: restore.Blocked, Reason: "field is immutable"},
	}}
	var out bytes.Buffer
	(&restorePrinter{out: &out}).plan(plan)
	require.Regexp(t, `^As it was at revision 1042 \(.*, 10m0s ago\):
  \+ namespace/shop       created again
  \+ service/shop/web     created again, with a new cluster IP: service x/y has 10\.96\.0\.7
  ~ secret/shop/db       changed back
      ~ data\.password: .*
  ! job\.batch/shop/once  can't be restored: field is immutable
  = 1 object is as it was then
  \. pod/shop/p, endpoints/shop/web left to what makes them \(--with-owned\)
$`, out.String())
	out.Reset()
	(&restorePrinter{out: &out}).done(&restore.Answer{Events: 2, Appended: 2000})
	require.Equal(t, "Restored: 2 objects, in one step (events 1999 to 2000). To undo it: the same with --at \"before event 1999\".\n", out.String())
}
