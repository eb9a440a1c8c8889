// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Record is a process written down in a file, so that a later program finds it.
type Record struct {
	ID
	// Command is what was run.
	Command []string `json:"command"`
}

// Save writes the record to file, whole or not at all.
func (r Record) Save(file string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write process record %s: %w", file, err)
	}
	part := file + ".part"
	if err := os.WriteFile(part, text, 0o600); err != nil {
		return fmt.Errorf("write process record: %w", err)
	}
	if err := os.Rename(part, file); err != nil {
		return fmt.Errorf("write process record: %w", err)
	}
	return nil
}

// Load reads the record in file; no file is no error and gives nil, as does one that was cut short by a crash.
func Load(file string) (*Record, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read process record: %w", err)
	}
	var r Record
	if json.Unmarshal(text, &r) != nil || r.PID <= 1 {
		return nil, nil
	}
	return &r, nil
}

// LoadDir reads every record (*.json) of a folder by its name; a folder that is not there holds none.
func LoadDir(dir string) (map[string]Record, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list process records: %w", err)
	}
	records := map[string]Record{}
	for _, file := range files {
		r, err := Load(file)
		if err != nil {
			return nil, err
		}
		if r != nil {
			name := filepath.Base(file)
			records[name[:len(name)-len(".json")]] = *r
		}
	}
	return records, nil
}
