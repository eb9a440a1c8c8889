// SPDX-License-Identifier: Apache-2.0

package handover

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"eastwest/internal/table"
)

// image is what is left. In a file the hash of all else comes first, then one of these without rows, and then these one by one.
type image struct {
	Place, Form string
	Generation  uint32
	Rest        []byte
	Count       int
	rows        table.Table[table.Service]
}

const (
	most        = 1 << 30 // bytes of a file
	bufferBytes = 1 << 16
)

// write replaces the file as a whole. It is not brought to the disk: a machine that starts anew has another kernel.
func (b *Backend) write(what image) error {
	folder := filepath.Dir(b.config.File)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	file, err := os.CreateTemp(folder, "."+filepath.Base(b.config.File)+"-*") // of mode 0600
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	err = errors.Join(what.encode(file), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), b.config.File)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("write %s: %w", b.config.File, err)
	}
	return nil
}

func (i image) encode(file *os.File) error {
	hash := sha256.New()
	if _, err := file.Seek(sha256.Size, io.SeekStart); err != nil {
		return err
	}
	to := bufio.NewWriterSize(io.MultiWriter(file, hash), bufferBytes)
	encoder := cbor.NewEncoder(to)
	i.Count = i.rows.Len()
	if err := encoder.Encode(i); err != nil {
		return err
	}
	var one service
	for _, row := range i.rows.All() {
		one.set(row)
		if err := encoder.Encode(&one); err != nil {
			return err
		}
	}
	if err := to.Flush(); err != nil {
		return err
	}
	_, err := file.WriteAt(hash.Sum(nil), 0)
	return err
}

// remains are what another process left.
type remains struct {
	what image
	rows []table.Service
	err  error // why that is worth nothing
}

// read returns what another process left, if it is whole, from the same place and of the same form.
func (b *Backend) read() (r remains) {
	if b.config.File == "" {
		return remains{err: errors.New("no folder for it")}
	}
	data, err := readOwn(b.config.File)
	if err == nil {
		r.what, r.rows, err = decode(data)
	}
	if err == nil && (r.what.Place != b.config.Place || r.what.Form != b.config.Form) {
		err = errors.New("of another boot, network namespace, version or configuration")
	}
	if err != nil {
		r.err = fmt.Errorf("read %s: %w", b.config.File, err)
	}
	return r
}

func decode(data []byte) (what image, rows []table.Service, err error) {
	if len(data) < sha256.Size {
		return what, nil, errors.New("cut off")
	}
	if hash := sha256.Sum256(data[sha256.Size:]); !bytes.Equal(hash[:], data[:sha256.Size]) {
		return what, nil, errors.New("damaged")
	}
	left, err := cbor.UnmarshalFirst(data[sha256.Size:], &what)
	for err == nil && len(left) > 0 {
		var one service
		if left, err = decoding.UnmarshalFirst(left, &one); err == nil {
			rows = append(rows, one.get())
		}
	}
	if err == nil && len(rows) != what.Count {
		err = fmt.Errorf("it has %d rows instead of %d", len(rows), what.Count)
	}
	return what, rows, err
}

var decoding = func() cbor.DecMode {
	mode, err := cbor.DecOptions{MaxArrayElements: math.MaxInt32}.DecMode() // of endpoints
	if err != nil {
		panic(err) // an option that does not exist
	}
	return mode
}()

// readOwn reads a file that only this user can have written.
func readOwn(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var status unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &status); err != nil {
		return nil, fmt.Errorf("look at it: %w", err)
	}
	if status.Mode&unix.S_IFMT != unix.S_IFREG || status.Mode&0o077 != 0 || int(status.Uid) != os.Geteuid() || status.Size > most {
		return nil, errors.New("it is no file that only this user may read and write")
	}
	data := make([]byte, status.Size)
	_, err = io.ReadFull(file, data)
	return data, err
}

// Build names this build of the program: what another one wrote may look otherwise.
func Build() (string, error) {
	program, err := elf.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("read the program's build id: %w", err)
	}
	defer program.Close()
	note := program.Section(".note.go.buildid")
	if note == nil {
		return "", errors.New("read the program's build id: it has none")
	}
	id, err := note.Data()
	if err != nil {
		return "", fmt.Errorf("read the program's build id: %w", err)
	}
	return hex.EncodeToString(id), nil
}
