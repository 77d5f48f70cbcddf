package main

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wakehq/wake/events"
)

// metrics counts what the deciders do, and shows it with the process's own figures in Prometheus' text format.
type metrics struct {
	registry *prometheus.Registry
	decided  *prometheus.HistogramVec
	events   *prometheus.CounterVec
	failed   *prometheus.CounterVec
}

func newMetrics(view *events.View) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		decided: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "wake_decision_duration_seconds", Help: "How long a decider takes for one decision.",
			Buckets: prometheus.ExponentialBuckets(1e-5, 4, 9)}, []string{"service"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wake_decided_events_total", Help: "Events that deciders asked for."}, []string{"service"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "wake_decisions_failed_total",
			Help: "Decisions that did not reach the ledger; reason conflict: another writer was first."}, []string{"service", "reason"}),
	}
	revision := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wake_ledger_revision", Help: "The revision that the view has reached."},
		func() float64 { return float64(view.Status().Revision) })
	aside := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wake_ledger_set_aside_events", Help: "Events that could not be understood."},
		func() float64 { return float64(view.Status().SetAsideCount) })
	m.registry.MustRegister(m.decided, m.events, m.failed, revision, aside, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Decided implements runner.Metrics.
func (m *metrics) Decided(service string, took time.Duration, count int) {
	m.decided.WithLabelValues(service).Observe(took.Seconds())
	m.events.WithLabelValues(service).Add(float64(count))
}

// Failed implements runner.Metrics.
func (m *metrics) Failed(service string, conflict bool) {
	reason := "error"
	if conflict {
		reason = "conflict"
	}
	m.failed.WithLabelValues(service, reason).Inc()
}

// leads adds whether this process's broker leads the ledger's stream.
func (m *metrics) leads(leads func() bool) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "wake_broker_leads_ledger", Help: "1 if this broker leads the ledger's stream, 0 if it follows."},
		func() float64 {
			if leads() {
				return 1
			}
			return 0
		}))
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}
