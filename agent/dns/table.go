package dns

import (
	"net/netip"
	"sync"
)

// table is what queries read. Each of its items is replaced as a whole, and reading takes no lock.
type table struct {
	entries    sync.Map // "web.default" → *entry
	names      sync.Map // netip.Addr → []string, names below the zone
	namespaces sync.Map // "default" → struct{}
}

// update brings the table in line with a fold. New services come before the names of their addresses, and go after them.
func (t *table) update(d diff) {
	for namespace, exists := range d.namespaces {
		if exists {
			t.namespaces.Store(namespace, struct{}{})
		}
	}
	for name, e := range d.entries {
		if e != nil {
			t.entries.Store(name.Name+"."+name.Namespace, e)
		}
	}
	for addr, names := range d.names {
		if len(names) > 0 {
			t.names.Store(addr, names)
		} else {
			t.names.Delete(addr)
		}
	}
	for name, e := range d.entries {
		if e == nil {
			t.entries.Delete(name.Name + "." + name.Namespace)
		}
	}
	for namespace, exists := range d.namespaces {
		if !exists {
			t.namespaces.Delete(namespace)
		}
	}
}

func (t *table) entry(service, namespace string) *entry {
	e, _ := t.entries.Load(service + "." + namespace)
	found, _ := e.(*entry)
	return found
}

func (t *table) namespace(name string) bool {
	_, exists := t.namespaces.Load(name)
	return exists
}

func (t *table) called(addr netip.Addr) []string {
	names, _ := t.names.Load(addr)
	found, _ := names.([]string)
	return found
}
