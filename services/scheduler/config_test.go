package scheduler

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig([]byte(`
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
  plugins:
    score:
      disabled: [{name: ImageLocality}, {name: TaintToleration}]
      enabled: [{name: NodeResourcesFit, weight: 5}, {name: NodeAffinity}]
  pluginConfig:
  - name: NodeResourcesFit
    args:
      scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 3}, {name: memory, weight: 1}]}
`))
	require.NoError(t, err)
	require.Equal(t, Config{Strategy: MostAllocated, Resources: Resources{CPU: 3, Memory: 1},
		Weights: &Weights{NodeResourcesFit: 5, NodeAffinity: 1, PodTopologySpread: 2, InterPodAffinity: 2}}, c)
	require.Equal(t, "MostAllocated of cpu 3 and memory 1, NodeResourcesFit 5, NodeAffinity 1, TaintToleration 0, PodTopologySpread 2, InterPodAffinity 2",
		c.String())

	c, err = ParseConfig([]byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"))
	require.NoError(t, err)
	require.Equal(t, Config{}, c)
}

func TestConfigNamesWhatIsNotUnderstood(t *testing.T) {
	for _, c := range []struct{ profile, want string }{
		{`{percentageOfNodesToScore: 5}`, `unknown field "profiles[0].percentageOfNodesToScore"; understood are one profile's`},
		{`{plugins: {filter: {disabled: [{name: NodePorts}]}}}`, `unknown field "profiles[0].plugins.filter"`},
		{`{schedulerName: mine}`, `profiles[0].schedulerName is "mine"; understood is default-scheduler`},
		{`{plugins: {score: {enabled: [{name: ImageLocality}]}}}`, `profiles[0].plugins.score.enabled[0].name is "ImageLocality"; scored are NodeResourcesFit`},
		{`{plugins: {score: {enabled: [{name: NodeAffinity, weight: 0}]}}}`, `enabled[0].weight is 0; understood is 1 to 1000`},
		{`{plugins: {score: {disabled: [{name: Coin}]}}}`, `disabled[0].name is "Coin"; scored are`},
		{`{pluginConfig: [{name: InterPodAffinity}]}`, `profiles[0].pluginConfig[0].name is "InterPodAffinity"; understood is NodeResourcesFit`},
		{`{pluginConfig: [{name: NodeResourcesFit, args: {ignoredResources: [x]}}]}`, `unknown field "profiles[0].pluginConfig[0].args.ignoredResources"`},
		{`{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: Best}}}]}`,
			`scoringStrategy.type is "Best"; understood are LeastAllocated, MostAllocated and RequestedToCapacityRatio`},
		{`{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {resources: [{name: gpu}]}}}]}`, `resources[0].name is "gpu"; understood are cpu and memory`},
		{`{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio}}}]}`, `requestedToCapacityRatio.shape is missing`},
		{`{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: RequestedToCapacityRatio,
			requestedToCapacityRatio: {shape: [{utilization: 50, score: 1}, {utilization: 50, score: 2}]}}}}]}`, `shape[1].utilization is 50; it must be more`},
	} {
		_, err := ParseConfig(fmt.Appendf(nil, "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles: [%s]\n", c.profile))
		require.ErrorContains(t, err, c.want)
	}
	_, err := ParseConfig([]byte("apiVersion: kubescheduler.config.k8s.io/v1beta3\nkind: KubeSchedulerConfiguration\n"))
	require.ErrorContains(t, err, `apiVersion is "kubescheduler.config.k8s.io/v1beta3"; understood is kubescheduler.config.k8s.io/v1`)
	_, err = ParseConfig([]byte("a: 1\na: 2\n"))
	require.ErrorContains(t, err, `"a" already set`)
}

// A part that counts nothing changes nothing; the strategies place as they say.
func TestStrategies(t *testing.T) {
	share := func(c Config, has, used int64) int64 { return c.points().share(has, used) }
	curve := Config{Strategy: RequestedToCapacityRatio, Curve: []CurvePoint{{Utilization: 20, Score: 10}, {Utilization: 80, Score: 0}}}
	for _, c := range []struct {
		config    Config
		has, used int64
		want      int64
	}{
		{Config{}, 10, 2, 8_000}, {Config{}, 10, 12, 0}, {Config{}, 0, 1, 0}, {Config{Strategy: MostAllocated}, 10, 2, 2_000},
		{Config{Strategy: MostAllocated}, 10, 12, 10_000}, {Config{Strategy: MostAllocated}, 0, 12, 0},
		{curve, 100, 10, 10_000}, {curve, 100, 50, 5_000}, {curve, 100, 90, 0}, {curve, 0, 1, 0},
	} {
		require.Equal(t, c.want, share(c.config, c.has, c.used), "%+v", c)
	}
	require.Equal(t, &points{strategy: LeastAllocated, cpu: 1, memory: 1, all: 2, free: 1, prefer: preferencePoints, avoid: avoidPoints, mate: matePoints,
		zoneMate: zoneMatePoints, mostZoneMate: mostZonePoints, soft: 100}, Config{}.points())
}

func TestMostAllocatedPacks(t *testing.T) {
	w := newWorld(t)
	w.scheduler = NewWith(Config{Strategy: MostAllocated}).(*scheduler)
	for _, name := range []string{"n1", "n2", "n3"} {
		w.create(aNode(name, "cpu=4 memory=4Gi pods=110"))
	}
	used := map[string]int{}
	for i := range 8 {
		name := fmt.Sprintf("p%d", i)
		w.create(aPod(name, "cpu=1 memory=1Gi"))
		w.settle()
		used[w.nodeOf(name)]++
	}
	require.Len(t, used, 2, "eight pods of a quarter node fill two")
}
