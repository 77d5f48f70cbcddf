package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheCatalogueInTheDocsIsCurrent(t *testing.T) {
	var want strings.Builder
	require.NoError(t, printCatalogue(&want))
	got, err := os.ReadFile("../../docs/events.md")
	require.NoError(t, err)
	require.Equal(t, want.String(), string(got), "make it anew with: go tool task generate")
}
