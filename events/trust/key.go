package trust

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// pending is added to the name of a key that nothing was signed with yet.
const pending = ".new"

// readKey returns the key in file, nil if there is none.
func readKey(file string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key that signs checkpoints: %w", err)
	}
	seed, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%s does not hold a key (%d bytes in hexadecimal): put back the file that this cluster was started with", file, ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// makeKey makes a key and keeps it beside file until adoptKey puts it in place: so a key that is in place was pinned.
func makeKey(file string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o700)
	}
	if err == nil {
		err = writeWhole(file+pending, []byte(hex.EncodeToString(key.Seed())+"\n"))
	}
	if err != nil {
		return nil, fmt.Errorf("making a key to sign checkpoints with: %w", err)
	}
	return key, nil
}

func adoptKey(file string) error {
	if err := os.Rename(file+pending, file); err != nil {
		return fmt.Errorf("keeping the key that signs checkpoints: %w", err)
	}
	return syncDir(filepath.Dir(file))
}

// PublicKey returns the public half of the key in file. Error: fs.ErrNotExist if there is none.
func PublicKey(file string) (ed25519.PublicKey, error) {
	key, err := readKey(file)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, fmt.Errorf("the key that signs checkpoints, %s: %w", file, fs.ErrNotExist)
	}
	return key.Public().(ed25519.PublicKey), nil
}

// writeWhole writes a file whole or not at all, mode 0600.
func writeWhole(path string, content []byte) error {
	temporary := path + ".tmp"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
