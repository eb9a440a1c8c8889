// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// recordFile is the file of a record in its folder.
const recordFile = "record.json"

// sandboxRecord is what is kept of a sandbox on disk. It is written before anything is made, so that whatever is made
// can be found and removed.
type sandboxRecord struct {
	ID      string
	Config  *runtimeapi.PodSandboxConfig
	Handler string
	Created time.Time
	// Ready is false before all of it works and after it was stopped.
	Ready bool
	// NetNS is the path of the network namespace, empty for the node's.
	NetNS string
	// Attached is set before the plugins are called and cleared when they have disconnected the pod.
	Attached bool
	Addrs    []netip.Addr
	// CNIConf is the network configuration that the pod was connected with.
	CNIConf []byte
	// PausePID is the process that holds the pod's process namespace, where it shares one.
	PausePID   int
	PauseStart string
}

// containerState is the stage of life of a container.
type containerState int

const (
	stateCreating containerState = iota // may be half made; never seen by clients
	stateCreated
	stateStarting // may have a process that nobody recorded
	stateRunning
	stateExited
)

// containerRecord is what is kept of a container on disk.
type containerRecord struct {
	ID, SandboxID string
	Handler       string // the sandbox's
	Config        *runtimeapi.ContainerConfig
	State         containerState
	// ImageID is the digest of the image's configuration; ImageRef the reference by manifest digest where there is one.
	ImageID, ImageRef string
	LogPath           string
	CgroupsPath       string
	UID, GID          uint32
	Groups            []uint32
	StopSignal        string
	// SharedPID is set when the container's process does not end all others of its namespace by ending.
	SharedPID bool
	Resources *runtimeapi.LinuxContainerResources

	Created, Started, Finished time.Time
	PID, Monitor               int
	PIDStart, MonitorStart     string
	ExitCode                   int
	Reason, Message            string
}

// newID makes the id of a sandbox or container: 64 hex digits, as other runtimes have them.
func newID() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// newUUID makes a random UUID (RFC 9562, version 4).
func newUUID() string {
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// saveRecord replaces dir/record.json whole. It does not wait for the disk: after a loss of power there are no
// containers that the record could be about.
func saveRecord(dir string, record any) error {
	raw, err := json.Marshal(record)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save record: %w", err)
	}
	tmp := filepath.Join(dir, recordFile+".tmp")
	err = os.WriteFile(tmp, raw, 0o600)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, recordFile))
	}
	if err != nil {
		_ = os.Remove(tmp) // where a disk is full it would take room
		return fmt.Errorf("save record: %w", err)
	}
	return nil
}

// saveFirst is saveRecord for what is new: when that fails, nothing of it is left.
func saveFirst(dir string, record any) error {
	err := saveRecord(dir, record)
	if err != nil {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// loadRecords reads the records below dir. Folders without a readable one are returned apart: nothing else is known of
// them than their name.
func loadRecords[T any](dir string) (records []*T, broken []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read records: %w", err)
	}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(dir, e.Name(), recordFile))
		record := new(T)
		if err == nil {
			err = json.Unmarshal(raw, record)
		}
		if err != nil {
			broken = append(broken, e.Name())
			continue
		}
		records = append(records, record)
	}
	return records, broken, nil
}
