package dns

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/wakehq/wake/agent/proxy"
)

var errDamaged = errors.New("the file is damaged; it is replaced after the next change")

// save writes the objects to the state file if they have changed.
func (s *Server) save() error {
	s.mu.Lock()
	if s.state == "" || !s.unsaved {
		s.mu.Unlock()
		return nil
	}
	s.unsaved = false
	var services corev1.ServiceList
	var slices discoveryv1.EndpointSliceList
	known := s.fold.known.All()
	s.mu.Unlock()
	for _, svc := range known.Services {
		services.Items = append(services.Items, *svc)
	}
	for _, slice := range known.SlicesPut {
		slices.Items = append(slices.Items, *slice)
	}
	if err := writeState(s.state, &services, &slices); err != nil {
		s.mu.Lock()
		s.unsaved = true
		s.mu.Unlock()
		return fmt.Errorf("saving %d services and %d endpoint slices: %w", len(services.Items), len(slices.Items), err)
	}
	return nil
}

// writeState writes a file whole: the SHA-256 of what follows, the length of the services (8 bytes), services, endpoint slices.
func writeState(path string, services *corev1.ServiceList, slices *discoveryv1.EndpointSliceList) error {
	first, err := services.Marshal()
	if err != nil {
		return err
	}
	second, err := slices.Marshal()
	if err != nil {
		return err
	}
	body := append(append(binary.BigEndian.AppendUint64(nil, uint64(len(first))), first...), second...)
	sum := sha256.Sum256(body)
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, sumErr := file.Write(sum[:])
	_, bodyErr := file.Write(body)
	if err := errors.Join(sumErr, bodyErr, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// restore answers from the state file, if there is one, until the first full change.
func (s *Server) restore() error {
	if s.state == "" {
		return nil
	}
	data, err := os.ReadFile(s.state)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	const head = sha256.Size + 8
	if len(data) < head || sha256.Sum256(data[sha256.Size:]) != [sha256.Size]byte(data) {
		return fmt.Errorf("%s: %w", s.state, errDamaged)
	}
	length, body := binary.BigEndian.Uint64(data[sha256.Size:]), data[head:]
	if length > uint64(len(body)) {
		return fmt.Errorf("%s: %w", s.state, errDamaged)
	}
	var services corev1.ServiceList
	var slices discoveryv1.EndpointSliceList
	if err := errors.Join(services.Unmarshal(body[:length]), slices.Unmarshal(body[length:])); err != nil {
		return fmt.Errorf("%s: %w", s.state, err)
	}
	change := proxy.Change{Full: true}
	for i := range services.Items {
		change.Services = append(change.Services, &services.Items[i])
	}
	for i := range slices.Items {
		change.SlicesPut = append(change.SlicesPut, &slices.Items[i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.take(change)
	return nil
}
