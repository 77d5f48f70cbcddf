// Package fabric makes several machines out of this one, for tests: network namespaces with addresses of their own, a dockerd in each that runs
// pods, and links that a test slows, cuts and heals. On them run the real bin/wake, real containers and real packets. It guarantees:
//
//   - A machine is a process ID, mount, host name and network namespace. Nothing of it is in this machine's own network, no address can be taken,
//     and any number of fabrics run side by side.
//   - PowerOff ends everything that runs on a machine at the same instant, containers and dockerd included, for the kernel ends a PID namespace with
//     its first process. What was on the machine's disk is there when it is powered on again; what was in memory, in /run and in the kernel isn't.
//   - A fabric ends with its test, and with the test's process however that ends (the machines' first processes wait on a pipe that it holds). Directories
//     that were left behind are removed by the next fabric.
//   - When the test has failed, the end of what each program said is in its output.
//
// All machines are on one link (a bridge), or with Config.Routed on links of their own behind a router. The control plane runs on machines too, in one
// process (Control) or in many (Plane). A machine called Outside is beyond the router and no part of the cluster. Links drop without a word when they are
// cut, as a broken switch does: no interface goes down. There is no delay on a slowed link (the kernels that this runs on lack netem), but a rate and loss.
package fabric
