package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

const (
	configVersion = "kubescheduler.config.k8s.io/v1"
	understood    = "understood are one profile's schedulerName, plugins.score (enabled with weights, disabled) and pluginConfig of NodeResourcesFit " +
		"(args.scoringStrategy: type, resources cpu and memory, requestedToCapacityRatio.shape)"
	fitPlugin = "NodeResourcesFit"
)

// configFile is what is understood of Kubernetes' KubeSchedulerConfiguration.
type configFile struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Profiles   []profileFile `json:"profiles"`
}

type profileFile struct {
	SchedulerName string `json:"schedulerName"`
	Plugins       struct {
		Score struct {
			Enabled  []pluginFile `json:"enabled"`
			Disabled []pluginFile `json:"disabled"`
		} `json:"score"`
	} `json:"plugins"`
	PluginConfig []pluginConfigFile `json:"pluginConfig"`
}

type pluginFile struct {
	Name   string `json:"name"`
	Weight *int64 `json:"weight"`
}

type pluginConfigFile struct {
	Name string `json:"name"`
	Args struct {
		APIVersion      string       `json:"apiVersion"`
		Kind            string       `json:"kind"`
		ScoringStrategy strategyFile `json:"scoringStrategy"`
	} `json:"args"`
}

type strategyFile struct {
	Type      Strategy     `json:"type"`
	Resources []pluginFile `json:"resources"`
	Ratio     *struct {
		Shape []struct {
			Utilization int64 `json:"utilization"`
			Score       int64 `json:"score"`
		} `json:"shape"`
	} `json:"requestedToCapacityRatio"`
}

// ParseConfig reads a KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1), as YAML or JSON. What it says that this scheduler doesn't understand is an
// error that names the field: nothing is left out silently.
func ParseConfig(data []byte) (Config, error) {
	file := configFile{}
	body, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return Config{}, fmt.Errorf("reading the scheduler's configuration: %w", err)
	}
	strict, err := kjson.UnmarshalStrict(body, &file)
	if err = cmp.Or(err, errors.Join(strict...)); err != nil {
		return Config{}, fmt.Errorf("reading the scheduler's configuration: %w; %s", err, understood)
	}
	c, err := file.config()
	if err != nil {
		return Config{}, fmt.Errorf("reading the scheduler's configuration: %w", err)
	}
	return c, nil
}

func (f *configFile) config() (Config, error) {
	switch {
	case f.APIVersion != configVersion:
		return Config{}, fmt.Errorf("apiVersion is %q; understood is %s", f.APIVersion, configVersion)
	case f.Kind != "KubeSchedulerConfiguration":
		return Config{}, fmt.Errorf("kind is %q; understood is KubeSchedulerConfiguration", f.Kind)
	case len(f.Profiles) > 1:
		return Config{}, fmt.Errorf("profiles has %d entries; there is one scheduler, so one profile at most", len(f.Profiles))
	case len(f.Profiles) == 0:
		return Config{}, nil
	}
	p := &f.Profiles[0]
	if p.SchedulerName != "" && p.SchedulerName != corev1.DefaultSchedulerName {
		return Config{}, fmt.Errorf("profiles[0].schedulerName is %q; understood is %s", p.SchedulerName, corev1.DefaultSchedulerName)
	}
	c := Config{}
	if err := p.weigh(&c); err != nil {
		return Config{}, err
	}
	for i := range p.PluginConfig {
		if err := p.PluginConfig[i].apply(fmt.Sprintf("profiles[0].pluginConfig[%d]", i), &c); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

// weight points to the weight of a score plugin; nil if there is no such part.
func (w *Weights) weight(plugin string) *int64 {
	switch plugin {
	case fitPlugin:
		return &w.NodeResourcesFit
	case "NodeAffinity":
		return &w.NodeAffinity
	case "TaintToleration":
		return &w.TaintToleration
	case "PodTopologySpread":
		return &w.PodTopologySpread
	case "InterPodAffinity":
		return &w.InterPodAffinity
	default:
		return nil
	}
}

// notScored are plugins of Kubernetes' default profile that this scheduler has no part for: to disable them is to say what is the case.
var notScored = []string{"NodeResourcesBalancedAllocation", "ImageLocality"}

const (
	scored     = "scored are NodeResourcesFit, NodeAffinity, TaintToleration, PodTopologySpread and InterPodAffinity"
	mostWeight = 1_000
)

// weigh reads the weights. As in Kubernetes, a plugin that is enabled without a weight has weight 1, and one that isn't named keeps its default.
func (p *profileFile) weigh(c *Config) error {
	score := &p.Plugins.Score
	if len(score.Enabled)+len(score.Disabled) == 0 {
		return nil
	}
	w := DefaultWeights
	for i, plugin := range score.Disabled {
		switch weight := w.weight(plugin.Name); {
		case plugin.Weight != nil:
			return fmt.Errorf("profiles[0].plugins.score.disabled[%d].weight: what is disabled has no weight", i)
		case plugin.Name == "*":
			w = Weights{}
		case weight != nil:
			*weight = 0
		case !slices.Contains(notScored, plugin.Name):
			return fmt.Errorf("profiles[0].plugins.score.disabled[%d].name is %q; %s", i, plugin.Name, scored)
		}
	}
	named := map[string]bool{}
	for i, plugin := range score.Enabled {
		at := fmt.Sprintf("profiles[0].plugins.score.enabled[%d]", i)
		weight := w.weight(plugin.Name)
		switch {
		case weight == nil:
			return fmt.Errorf("%s.name is %q; %s", at, plugin.Name, scored)
		case named[plugin.Name]:
			return fmt.Errorf("%s.name is %q a second time", at, plugin.Name)
		case plugin.Weight == nil:
			*weight = 1
		case *plugin.Weight < 1 || *plugin.Weight > mostWeight:
			return fmt.Errorf("%s.weight is %d; understood is 1 to %d (disable what shall not count)", at, *plugin.Weight, mostWeight)
		default:
			*weight = *plugin.Weight
		}
		named[plugin.Name] = true
	}
	c.Weights = &w
	return nil
}

func (f *pluginConfigFile) apply(at string, c *Config) error {
	switch {
	case f.Name != fitPlugin:
		return fmt.Errorf("%s.name is %q; understood is %s", at, f.Name, fitPlugin)
	case f.Args.APIVersion != "" && f.Args.APIVersion != configVersion:
		return fmt.Errorf("%s.args.apiVersion is %q; understood is %s", at, f.Args.APIVersion, configVersion)
	case f.Args.Kind != "" && f.Args.Kind != "NodeResourcesFitArgs":
		return fmt.Errorf("%s.args.kind is %q; understood is NodeResourcesFitArgs", at, f.Args.Kind)
	}
	at += ".args.scoringStrategy"
	s := &f.Args.ScoringStrategy
	strategies := []Strategy{LeastAllocated, MostAllocated, RequestedToCapacityRatio}
	if c.Strategy = s.Type; s.Type != "" && !slices.Contains(strategies, s.Type) {
		return fmt.Errorf("%s.type is %q; understood are %s, %s and %s", at, s.Type, LeastAllocated, MostAllocated, RequestedToCapacityRatio)
	}
	for i, r := range s.Resources {
		weight := int64(1)
		if r.Weight != nil {
			weight = *r.Weight
		}
		switch {
		case weight < 1 || weight > 100:
			return fmt.Errorf("%s.resources[%d].weight is %d; understood is 1 to 100", at, i, weight)
		case r.Name == string(corev1.ResourceCPU):
			c.Resources.CPU = weight
		case r.Name == string(corev1.ResourceMemory):
			c.Resources.Memory = weight
		default:
			return fmt.Errorf("%s.resources[%d].name is %q; understood are cpu and memory", at, i, r.Name)
		}
	}
	return s.bend(at, c)
}

// bend reads the curve.
func (s *strategyFile) bend(at string, c *Config) error {
	at += ".requestedToCapacityRatio"
	switch {
	case s.Ratio == nil && s.Type != RequestedToCapacityRatio:
		return nil
	case s.Type != RequestedToCapacityRatio:
		return fmt.Errorf("%s goes with type %s, not %s", at, RequestedToCapacityRatio, cmp.Or(s.Type, LeastAllocated))
	case s.Ratio == nil || len(s.Ratio.Shape) == 0:
		return fmt.Errorf("%s.shape is missing: points of utilization (0 to 100) and score (0 to %d)", at, mostCurveScore)
	}
	for i, p := range s.Ratio.Shape {
		switch {
		case p.Utilization < 0 || p.Utilization > 100:
			return fmt.Errorf("%s.shape[%d].utilization is %d; understood is 0 to 100", at, i, p.Utilization)
		case p.Score < 0 || p.Score > mostCurveScore:
			return fmt.Errorf("%s.shape[%d].score is %d; understood is 0 to %d", at, i, p.Score, mostCurveScore)
		case i > 0 && p.Utilization <= c.Curve[i-1].Utilization:
			return fmt.Errorf("%s.shape[%d].utilization is %d; it must be more than the one before, %d", at, i, p.Utilization, c.Curve[i-1].Utilization)
		}
		c.Curve = append(c.Curve, CurvePoint{Utilization: p.Utilization, Score: p.Score})
	}
	return nil
}

// String names a configuration for people: "MostAllocated, NodeResourcesFit 1, …".
func (c Config) String() string {
	w := DefaultWeights
	if c.Weights != nil {
		w = *c.Weights
	}
	p := c.points()
	words := []string{fmt.Sprintf("%s of cpu %d and memory %d", p.strategy, p.cpu, p.memory)}
	for _, name := range []string{fitPlugin, "NodeAffinity", "TaintToleration", "PodTopologySpread", "InterPodAffinity"} {
		words = append(words, fmt.Sprintf("%s %d", name, *w.weight(name)))
	}
	return strings.Join(words, ", ")
}
