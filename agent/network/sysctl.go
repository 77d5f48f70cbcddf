package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const sysctls = "/proc/sys/net/"

// setting sets a kernel setting of the network namespace, unless it has the value.
func setting(name, value string) error {
	file := sysctls + name
	now, err := os.ReadFile(file)
	if err == nil && strings.TrimSpace(string(now)) == value {
		return nil
	}
	if err == nil {
		err = os.WriteFile(file, []byte(value), 0o644)
	}
	if err != nil {
		return fmt.Errorf("setting net.%s to %s, without which pods can't be reached: %w", strings.ReplaceAll(name, "/", "."), value, err)
	}
	return nil
}

// bridgeSettings make the node forward its pods' packets.
func bridgeSettings(local Local) error {
	settings := []struct{ name, value string }{}
	for _, gateway := range local.Gateways {
		if gateway.Is4() {
			settings = append(settings, struct{ name, value string }{"ipv4/ip_forward", "1"},
				// Who asks a host port at 127.0.0.1 comes to the pod from there; the rules see to it that nobody else does.
				struct{ name, value string }{"ipv4/conf/" + local.Device + "/route_localnet", "1"})
			continue
		}
		if err := keepAdvertised(); err != nil {
			return err
		}
		settings = append(settings, struct{ name, value string }{"ipv6/conf/all/forwarding", "1"},
			struct{ name, value string }{"ipv6/conf/" + local.Device + "/disable_ipv6", "0"})
	}
	for _, s := range settings {
		if err := setting(s.name, s.value); err != nil {
			return err
		}
	}
	return nil
}

// keepAdvertised lets devices that learn their routes from router advertisements go on with it: by default the kernel stops that where it forwards.
func keepAdvertised() error {
	files, err := filepath.Glob(sysctls + "ipv6/conf/*/accept_ra")
	if err != nil {
		return err
	}
	for _, file := range files {
		now, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && strings.TrimSpace(string(now)) == "1" {
			err = os.WriteFile(file, []byte("2"), 0o644)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keeping router advertisements: %w", err)
		}
	}
	return nil
}
