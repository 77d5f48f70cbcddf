package runtime

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
)

// The pause program is the first process of a pod's sandbox: it holds the namespaces, reaps what is orphaned into them, and ends on
// SIGTERM or SIGINT. As the first process of a process namespace gets no signal that it hasn't asked for, it blocks the three that it
// knows and waits for them:
//
//	rt_sigprocmask(SIG_BLOCK, {INT, TERM, CHLD})
//	for {
//		switch sig := rt_sigtimedwait({INT, TERM, CHLD}); {
//		case sig < 0: // interrupted
//		case sig == SIGCHLD:
//			for wait4(-1, WNOHANG) > 0 {
//			}
//		default:
//			exit_group(0)
//		}
//	}
//
// It is kept here as machine code, one instruction per line, so that a node needs neither a registry nor a compiler.
const (
	pauseImage = "wake/pause:1"
	pausePath  = "pause"
)

// signalSet is {INT, TERM, CHLD} as the kernel wants it: bit n-1 for signal n.
var signalSet = []byte{0x02, 0x40, 0x01, 0, 0, 0, 0, 0}

var pauseAMD64 = [][]byte{
	{0x31, 0xff},                           //        xor  edi, edi       ; SIG_BLOCK
	{0x48, 0x8d, 0x35, 0x57, 0, 0, 0},      //        lea  rsi, [set]
	{0x31, 0xd2},                           //        xor  edx, edx
	{0x41, 0xba, 8, 0, 0, 0},               //        mov  r10d, 8        ; size of the set
	{0xb8, 14, 0, 0, 0},                    //        mov  eax, 14        ; rt_sigprocmask
	{0x0f, 0x05},                           //        syscall
	{0x48, 0x8d, 0x3d, 0x41, 0, 0, 0},      // wait:  lea  rdi, [set]
	{0x31, 0xf6},                           //        xor  esi, esi
	{0x31, 0xd2},                           //        xor  edx, edx
	{0x41, 0xba, 8, 0, 0, 0},               //        mov  r10d, 8
	{0xb8, 128, 0, 0, 0},                   //        mov  eax, 128       ; rt_sigtimedwait
	{0x0f, 0x05},                           //        syscall
	{0x85, 0xc0},                           //        test eax, eax
	{0x78, 0xe4},                           //        js   wait
	{0x83, 0xf8, 17},                       //        cmp  eax, 17        ; SIGCHLD
	{0x75, 0x1e},                           //        jne  exit
	{0x48, 0xc7, 0xc7, 255, 255, 255, 255}, // reap:  mov  rdi, -1
	{0x31, 0xf6},                           //        xor  esi, esi
	{0xba, 1, 0, 0, 0},                     //        mov  edx, 1         ; WNOHANG
	{0x45, 0x31, 0xd2},                     //        xor  r10d, r10d
	{0xb8, 61, 0, 0, 0},                    //        mov  eax, 61        ; wait4
	{0x0f, 0x05},                           //        syscall
	{0x85, 0xc0},                           //        test eax, eax
	{0x7f, 0xe4},                           //        jg   reap
	{0xeb, 0xc1},                           //        jmp  wait
	{0x31, 0xff},                           // exit:  xor  edi, edi
	{0xb8, 231, 0, 0, 0},                   //        mov  eax, 231       ; exit_group
	{0x0f, 0x05},                           //        syscall
	signalSet,                              // set:
}

var pauseARM64 = words(
	0xaa1f03e0, //        mov  x0, xzr          ; SIG_BLOCK
	0x10000361, //        adr  x1, set
	0xaa1f03e2, //        mov  x2, xzr
	0xb27d03e3, //        mov  x3, 8            ; size of the set
	0xd28010e8, //        mov  x8, 135          ; rt_sigprocmask
	0xd4000001, //        svc  0
	0x100002c0, // wait:  adr  x0, set
	0xaa1f03e1, //        mov  x1, xzr
	0xaa1f03e2, //        mov  x2, xzr
	0xb27d03e3, //        mov  x3, 8
	0xd2801128, //        mov  x8, 137          ; rt_sigtimedwait
	0xd4000001, //        svc  0
	0xf100001f, //        cmp  x0, 0
	0x54ffff2b, //        b.lt wait
	0xf100441f, //        cmp  x0, 17           ; SIGCHLD
	0x54000141, //        b.ne exit
	0x92800000, // reap:  mov  x0, -1
	0xaa1f03e1, //        mov  x1, xzr
	0xb24003e2, //        mov  x2, 1            ; WNOHANG
	0xaa1f03e3, //        mov  x3, xzr
	0xd2802088, //        mov  x8, 260          ; wait4
	0xd4000001, //        svc  0
	0xf100001f, //        cmp  x0, 0
	0x54ffff2c, //        b.gt reap
	0x17ffffee, //        b    wait
	0xaa1f03e0, // exit:  mov  x0, xzr
	0xd2800bc8, //        mov  x8, 94           ; exit_group
	0xd4000001, //        svc  0
	0x00014002, // set:
	0x00000000,
)

func words(instructions ...uint32) [][]byte {
	out := make([][]byte, len(instructions))
	for i, w := range instructions {
		out[i] = binary.LittleEndian.AppendUint32(nil, w)
	}
	return out
}

// Where the program is loaded, and the ELF machine numbers.
const (
	loadAddress  = 0x400000
	headersBytes = 64 + 56 // an ELF header and one program header
	machineAMD64 = 62
	machineARM64 = 183
)

// pauseProgram is the pause program as a static executable for arch, a GOARCH.
func pauseProgram(arch string) ([]byte, error) {
	var machine uint16
	var instructions [][]byte
	switch arch {
	case "amd64":
		machine, instructions = machineAMD64, pauseAMD64
	case "arm64":
		machine, instructions = machineARM64, pauseARM64
	default:
		return nil, fmt.Errorf("no pause program for the architecture %s: only amd64 and arm64 are known", arch)
	}
	code := bytes.Join(instructions, nil)
	size := uint64(headersBytes + len(code))
	le := binary.LittleEndian
	elf := []byte{0x7f, 'E', 'L', 'F', 2 /* 64 bit */, 1 /* little endian */, 1 /* version */, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	elf = le.AppendUint16(elf, 2) // an executable
	elf = le.AppendUint16(elf, machine)
	elf = le.AppendUint32(elf, 1)                        // version
	elf = le.AppendUint64(elf, loadAddress+headersBytes) // entry
	elf = le.AppendUint64(elf, 64)                       // offset of the program header
	elf = le.AppendUint64(elf, 0)                        // no sections
	elf = le.AppendUint32(elf, 0)                        // flags
	for _, n := range []uint16{64 /* this header */, 56 /* a program header */, 1 /* of them */, 0, 0, 0} {
		elf = le.AppendUint16(elf, n)
	}
	elf = le.AppendUint32(elf, 1) // loadable
	elf = le.AppendUint32(elf, 5) // read, execute
	for _, n := range []uint64{0 /* offset */, loadAddress, loadAddress, size, size, 0x10000 /* alignment */} {
		elf = le.AppendUint64(elf, n)
	}
	return append(elf, code...), nil
}

// ensurePauseImage imports the pause image unless it is there.
func (d *Docker) ensurePauseImage(ctx context.Context) error {
	_, err := d.client.ImageInspect(ctx, pauseImage)
	if err == nil {
		return nil
	}
	if !cerrdefs.IsNotFound(err) {
		return fmt.Errorf("looking for the pause image %s: %w", pauseImage, err)
	}
	program, err := pauseProgram(runtime.GOARCH)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = w.WriteHeader(&tar.Header{Name: pausePath, Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = w.Write(program)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("building the pause image: %w", err)
	}
	body, err := d.client.ImageImport(ctx, image.ImportSource{Source: &layer, SourceName: "-"}, pauseImage,
		image.ImportOptions{Changes: []string{`ENTRYPOINT ["/` + pausePath + `"]`}, Message: "Wake's pause program"})
	if err != nil {
		return fmt.Errorf("importing the pause image %s: %w", pauseImage, err)
	}
	return body.Close()
}
