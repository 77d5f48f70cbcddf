package runtime

import (
	"fmt"
	"os"
	"strings"
)

// capSysResource is the number of the capability that it takes to make a process less likely to be killed for memory than its parent.
const capSysResource = 24

// maySpare says whether processes may be spared by the kernel's out-of-memory killer. In some containers nobody may, and a container
// that asks for it doesn't start at all; Docker is taken to have the agent's capabilities.
func maySpare() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		var capabilities uint64
		if n, _ := fmt.Sscanf(line, "CapBnd: %x", &capabilities); n == 1 {
			return capabilities&(1<<capSysResource) != 0
		}
	}
	return false
}

// oomScore is the score adjustment that is wanted, as far as the machine permits it.
func (d *Docker) oomScore(wanted int) int {
	if !d.spares {
		return max(wanted, 0)
	}
	return wanted
}
