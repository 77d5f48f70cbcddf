package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
)

// serving returns what serves the cluster that commands ask: the process that runs on this data directory, the gateways of a cluster of several processes whose identity
// lies there, or, if no data directory was named, the Wake cluster that KUBECONFIG leads to.
func (l *location) serving() (running, error) {
	if file := l.outside(); file != "" {
		return reached(file)
	}
	if id, err := l.load(); err == nil && len(id.Brokers) > 0 {
		return reached(l.kubeconfig())
	}
	return l.process()
}

// reached describes the cluster of a kubeconfig.
func reached(file string) (running, error) {
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		return running{}, fmt.Errorf("reading the kubeconfig %s: %w", file, err)
	}
	return running{URL: config.Host}, nil
}

// credentials is the kubeconfig with which commands ask.
func (l *location) credentials() string {
	if file := l.outside(); file != "" {
		return file
	}
	return l.kubeconfig()
}

// beside is where the kubeconfig lies that leads to the cluster: its data directory, if this machine has one.
func (l *location) beside() *location { return &location{dir: filepath.Dir(l.credentials())} }

// outside is the kubeconfig that KUBECONFIG names, if that is a Wake cluster's and no data directory was named, which would say which cluster is meant.
func (l *location) outside() string {
	file := os.Getenv(clientcmd.RecommendedConfigPathEnvVar)
	if file == "" || os.Getenv(dataDirVariable) != "" || l.dir != defaultDataDir() || filepath.Clean(file) == filepath.Clean(l.kubeconfig()) {
		return ""
	}
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		return ""
	}
	if context := config.Contexts[config.CurrentContext]; context == nil || !strings.HasPrefix(context.Cluster, "wake") {
		return ""
	}
	return file
}
