package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/wakehq/wake/events/timetravel"
)

func TestLeadingMoment(t *testing.T) {
	now := time.Date(2026, 11, 21, 9, 30, 0, 0, time.UTC)
	for text, want := range map[string][2]string{
		"-5m get pods":                    {"2026-11-21T09:25:00Z", "get pods"},
		"1042 get pods":                   {"1042", "get pods"},
		"before event 1042 get pods":      {"1041", "get pods"},
		"before 1042 describe pod x":      {"1041", "describe pod x"},
		"event 1042 get pods -n shop":     {"1042", "get pods -n shop"},
		"2026-11-21 09:00 get pods":       {"2026-11-21T09:00:00Z", "get pods"},
		"2026-11-21T09:00:00Z why pod/x":  {"2026-11-21T09:00:00Z", "why pod/x"},
		"09:00 rollout history deploy/we": {"2026-11-21T09:00:00Z", "rollout history deploy/we"},
	} {
		moment, rest, err := leadingMoment(strings.Fields(text), now)
		require.NoError(t, err, text)
		require.Equal(t, want, [2]string{moment, strings.Join(rest, " ")}, text)
	}
	_, _, err := leadingMoment([]string{"get", "pods"}, now)
	require.ErrorContains(t, err, `the moment "get" is none that can be understood`)
}

func TestOnlyReadsAreMadeOfThePast(t *testing.T) {
	for _, allowed := range []string{"get pods -A", "-n shop get pods", "describe pod x", "events", "explain pod", "wait --for=delete pod/x", "rollout status deploy/x",
		"rollout history deploy/x", "diff -f x.yaml", "auth whoami", "auth can-i get pods", "api-resources", "version", "cluster-info"} {
		require.NoError(t, checkRead(strings.Fields(allowed)), allowed)
	}
	for refused, why := range map[string]string{
		"":                         "after the moment comes what to read",
		"delete pod x":             `"delete" isn't one of`,
		"apply -f x":               "the past can only be read",
		"-n get delete pods":       `"delete" isn't one of`,
		"rollout undo deploy/x":    `"rollout undo" isn't one of`,
		"auth reconcile -f x":      `"auth reconcile" isn't one of`,
		"logs x":                   "nodes answer that, not the ledger",
		"exec x -- ls":             "nodes answer that, not the ledger",
		"cluster-info dump":        "the past can only be read",
		"scale deploy/x --replica": "wake restore",
	} {
		require.ErrorContains(t, checkRead(strings.Fields(refused)), why, refused)
	}
}

func TestCommandsOfOurOwnGetTheMoment(t *testing.T) {
	root := rootCommand()
	for text, want := range map[string]string{
		"why pod/x":     "why --at=1042 pod/x",
		"blame deploy/": "blame --at=1042 deploy/",
		"log -n shop":   "log --until=1042 -n shop",
		"diff -n shop":  "diff 1042 -n shop",
		"diff -f x":     "",
		"get pods":      "",
	} {
		require.Equal(t, want, strings.Join(ownCommand(root, strings.Fields(text), "1042"), " "), text)
	}
}

func TestOnlyWhatIsShownIsMoved(t *testing.T) {
	require.Equal(t, "then", pastHeaders("1", []string{"describe", "pod", "x"}).Get("Wake-Ages"))
	require.Equal(t, "then", pastHeaders("1", []string{"-n", "x", "events"}).Get("Wake-Ages"))
	for _, exact := range []string{"get pods", "events -o json", "events -oyaml", "events --output=yaml"} {
		require.Empty(t, pastHeaders("1", strings.Fields(exact)).Get("Wake-Ages"), exact)
	}
}

func TestAContextForAMoment(t *testing.T) {
	config := clientcmdapi.NewConfig()
	config.CurrentContext = "wake"
	config.Contexts["wake"] = &clientcmdapi.Context{Cluster: "wake", AuthInfo: "admin", Namespace: "shop"}
	config.Clusters["wake"] = &clientcmdapi.Cluster{Server: "https://127.0.0.1:6443", CertificateAuthorityData: []byte("ca")}
	now := time.Now()
	for text, want := range map[string][2]string{
		"-10m":                 {"wake@-10m", "https://127.0.0.1:6443/at/-10m"},
		"before event 1042":    {"wake@1041", "https://127.0.0.1:6443/at/1041"},
		"2026-11-21T10:00:00Z": {"wake@2026-11-21T10:00:00Z", "https://127.0.0.1:6443/at/2026-11-21T10:00:00Z"},
	} {
		m, err := timetravel.ParseMoment(text, now)
		require.NoError(t, err)
		name, err := addMoment(config, m)
		require.NoError(t, err)
		require.Equal(t, want[0], name)
		require.Equal(t, want[1], config.Clusters[name].Server)
		require.Equal(t, []byte("ca"), config.Clusters[name].CertificateAuthorityData)
		require.Equal(t, clientcmdapi.Context{Cluster: name, AuthInfo: "admin", Namespace: "shop"}, *config.Contexts[name])
	}
	require.Equal(t, "https://127.0.0.1:6443", config.Clusters["wake"].Server, "the present stays")
}
