// Package vm runs a program on a kernel of its own: the distribution's cloud kernel under emulation, for what the machine's kernel lacks (IPVS).
//
//   - It needs no KVM, no root and no disk image: a kernel, an initramfs made for the run, and one process (qemu) that ends with it.
//   - The program's output arrives as it is written, apart from what the kernel says; its exit status is the run's.
//   - A run ends: when the program ends, when the kernel panics, when the context does. Each is told apart.
//   - Modules are given by name; those that they need come along, in an order that works.
//   - Nothing is kept but the downloaded parts, in a cache outside the source tree (deploy/vm.sh fills it).
package vm
