package fabric

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

// Parts of a control plane of many processes.
const (
	Broker   = "broker"
	Gateway  = "gateway"
	Services = "services"
	Feed     = "feed"
	Keeper   = "keeper"
)

// Part is a process of a control plane.
type Part struct {
	On *Machine
	// Role is what it does there: Broker, Gateway, …
	Role string
}

func (p Part) String() string { return p.Role + " on " + p.On.Name }

// health is where parts tell how they are, on their machine.
var health = map[string]string{Broker: "127.0.0.1:9001", Gateway: "127.0.0.1:9002", Services: "127.0.0.1:9003", Feed: "127.0.0.1:9004", Keeper: "127.0.0.1:9005"}

// Plane is a control plane of many processes on Config.Controls: a broker on each, with a copy of the ledger; gateway, services and feed on the first two; a keeper on the
// last. They share a directory with the cluster's keys. Commands run on the machine Outside, and ask a gateway that runs.
type Plane struct {
	API
	machines []*Machine
}

// Plane returns the control plane of all of Config.Controls, which are three or more.
func (f *Fabric) Plane() *Plane {
	f.t.Helper()
	require.GreaterOrEqual(f.t, len(f.config.Controls), 3, "a control plane of many processes is on three machines at least: Config.Controls")
	p := &Plane{}
	for _, name := range f.config.Controls {
		p.machines = append(p.machines, f.Machine(name))
	}
	p.API = API{t: f.t, f: f, on: f.Machine(Outside), settings: func() []string { return []string{"KUBECONFIG=" + p.kubeconfig(p.serving())} },
		server: func() string { return p.url(p.serving()) }}
	return p
}

func (p *Plane) data() string { return filepath.Join(p.f.dir, "plane") }

func (p *Plane) url(m *Machine) string { return "https://" + m.Addr.String() + ":" + apiPort }

// gateways are the machines that have one.
func (p *Plane) gateways() []*Machine { return p.machines[:2] }

// kubeconfig is the file that leads to a machine's gateway.
func (p *Plane) kubeconfig(m *Machine) string {
	return filepath.Join(p.data(), "kubeconfig-"+m.Name)
}

// serving is a machine whose gateway runs; the first if none does.
func (p *Plane) serving() *Machine {
	for _, m := range p.gateways() {
		if p.Runs(Part{m, Gateway}) {
			return m
		}
	}
	return p.machines[0]
}

// Machines are those that the control plane is on.
func (p *Plane) Machines() []*Machine { return slices.Clone(p.machines) }

// Parts are all processes of the control plane, brokers first.
func (p *Plane) Parts() (all []Part) {
	for _, m := range p.machines {
		all = append(all, Part{m, Broker})
	}
	for _, m := range p.gateways() {
		all = append(all, Part{m, Gateway}, Part{m, Services}, Part{m, Feed})
	}
	return append(all, Part{p.machines[len(p.machines)-1], Keeper})
}

// Up makes the cluster, starts all parts, and waits until the API is ready.
func (p *Plane) Up() {
	p.t.Helper()
	wake, err := binary("wake")
	require.NoError(p.t, err)
	args := []string{"init", "--data-dir", p.data()}
	for _, m := range p.machines {
		args = append(args, "--broker", m.Name+"="+m.Addr.String())
	}
	for _, m := range p.gateways() {
		args = append(args, "--api", p.url(m))
	}
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	_, err = call(ctx, "", wake, args...)
	require.NoError(p.t, err)
	kubectl, err := binary("kubectl")
	require.NoError(p.t, err)
	for i, m := range p.gateways() {
		name := "wake"
		if i > 0 {
			name = fmt.Sprintf("wake-%d", i+1)
		}
		copied, err := call(ctx, "", "cp", filepath.Join(p.data(), "kubeconfig"), p.kubeconfig(m))
		require.NoError(p.t, err, copied)
		_, err = call(ctx, "", kubectl, "--kubeconfig", p.kubeconfig(m), "config", "use-context", name)
		require.NoError(p.t, err)
	}
	p.Start(p.Parts()...)
	p.Ready(p.Parts()...)
}

// Start starts parts, at the same time.
func (p *Plane) Start(parts ...Part) {
	p.t.Helper()
	wake, err := binary("wake")
	require.NoError(p.t, err)
	for _, part := range parts {
		args := []string{part.Role, "--data-dir", p.data(), "--health-listen", health[part.Role]}
		switch part.Role {
		case Broker:
			args = append(args, "--name", part.On.Name, "--ledger-dir", filepath.Join(part.On.dir(), "ledger"))
		case Gateway:
			args = append(args, "--listen", part.On.Addr.String()+":"+apiPort)
		}
		process, err := part.On.Start(part.Role, wake, args...)
		require.NoError(p.t, err, "starting %s", part)
		p.f.keep(part.On, process)
	}
}

// Ready waits until parts say that they do their work.
func (p *Plane) Ready(parts ...Part) {
	p.t.Helper()
	for _, part := range parts {
		p.f.Eventually(part.String()+" is ready", func() error { _, err := part.ask("/readyz"); return err })
	}
}

// ask asks a part how it is.
func (p Part) ask(path string) (string, error) {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: p.On.Dial, DisableKeepAlives: true}}
	response, err := client.Get("http://" + health[p.Role] + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", p, response.Status, said)
	}
	return string(said), err
}

// Runs says whether a part's process runs.
func (p *Plane) Runs(part Part) bool {
	process := p.f.find(part.On, part.Role)
	if process == nil || !part.On.On() {
		return false
	}
	select {
	case <-process.Done():
		return false
	default:
		return true
	}
}

// Kill ends parts as nothing can prevent, all at the same time.
func (p *Plane) Kill(parts ...Part) {
	p.t.Helper()
	p.signal(syscall.SIGKILL, parts)
	p.ended(parts)
}

// Stop ends parts as an init system does, all at the same time.
func (p *Plane) Stop(parts ...Part) {
	p.t.Helper()
	p.signal(syscall.SIGTERM, parts)
	p.ended(parts)
}

// Stall stops parts' processes where they are: they keep their connections and say nothing more.
func (p *Plane) Stall(parts ...Part) { p.t.Helper(); p.signal(syscall.SIGSTOP, parts) }

// Continue ends Stall.
func (p *Plane) Continue(parts ...Part) { p.t.Helper(); p.signal(syscall.SIGCONT, parts) }

func (p *Plane) signal(s syscall.Signal, parts []Part) {
	p.t.Helper()
	for _, part := range parts {
		p.f.process(p.t, part.On, part.Role).Signal(s)
	}
}

func (p *Plane) ended(parts []Part) {
	p.t.Helper()
	for _, part := range parts {
		<-p.f.process(p.t, part.On, part.Role).Done()
	}
}

// Leader is the machine whose broker leads the ledger's stream.
func (p *Plane) Leader() *Machine {
	p.t.Helper()
	var leader *Machine
	p.f.Eventually("a broker leads the ledger", func() error {
		for _, m := range p.machines {
			if said, err := (Part{m, Broker}).ask("/metrics"); err == nil && strings.Contains(said, "\nwake_broker_leads_ledger 1\n") {
				leader = m
				return nil
			}
		}
		return fmt.Errorf("none of the %d brokers says that it does", len(p.machines))
	})
	return leader
}

// Kubeconfigs are the files that lead to the gateways, one each.
func (p *Plane) Kubeconfigs() (files []string) {
	for _, m := range p.gateways() {
		files = append(files, p.kubeconfig(m))
	}
	return files
}
