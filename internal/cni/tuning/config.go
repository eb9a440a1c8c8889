// SPDX-License-Identifier: Apache-2.0

package tuning

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"eastwest/internal/cni/plugin"
)

const (
	defaultDataDir = "/run/cni/tuning"
	// allowListFile holds a regular expression a line; without the file, every network parameter is allowed.
	allowListFile = "/etc/cni/tuning/allowlist.conf"
)

// config holds the keys of the reference plugin.
type config struct {
	types.PluginConf
	attributes
	DataDir       string     `json:"dataDir"`
	SysCtl        parameters `json:"sysctl"`
	RuntimeConfig struct {
		MAC string `json:"mac"`
	} `json:"runtimeConfig"`
	Args struct {
		CNI struct {
			attributes
			SysCtl parameters `json:"sysctl"`
		} `json:"cni"`
	} `json:"args"`

	want attributes // of all sources, the most specific first
}

// parameters are sysctls by name. A name that is there twice is an error: which of the values counts is not said
// anywhere.
type parameters map[string]string

// UnmarshalJSON refuses names that are there twice.
func (p *parameters) UnmarshalJSON(text []byte) error {
	var values map[string]string
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	seen := map[string]bool{}
	for depth := 0; ; {
		token, err := d.Token()
		if err != nil {
			break // the end: the text was valid above
		}
		if delim, is := token.(json.Delim); is && delim == '{' {
			depth++
			continue
		}
		name, is := token.(string)
		if !is || depth != 1 {
			continue
		}
		if seen[name] {
			return fmt.Errorf("duplicated sysctl keys are not allowed: %q", name)
		}
		seen[name] = true
		if _, err := d.Token(); err != nil { // its value
			break
		}
	}
	*p = values
	return nil
}

// configured is what a call says; a path that begins in no root is the caller's.
func configured(ctx context.Context, args *skel.CmdArgs) (*config, error) {
	c, err := parse(args.StdinData, args.Args)
	if err != nil {
		return nil, err
	}
	c.DataDir = plugin.Of(ctx).Path(c.DataDir)
	return c, nil
}

func parse(stdin []byte, cniArgs string) (*config, error) {
	c := &config{}
	if err := plugin.Parse(stdin, c); err != nil {
		return nil, err
	}
	if c.DataDir == "" {
		c.DataDir = defaultDataDir
	}
	var env struct {
		types.CommonArgs
		MAC types.UnmarshallableString
	}
	if err := types.LoadArgs(cniArgs, &env); err != nil {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("CNI_ARGS %q: %v", cniArgs, err), "")
	}
	c.want = c.attributes
	c.want.override(attributes{MAC: string(env.MAC)})
	c.want.override(attributes{MAC: c.RuntimeConfig.MAC})
	c.want.override(c.Args.CNI.attributes)
	if c.want.Promisc != nil && !*c.want.Promisc {
		c.want.Promisc = nil // "no" means that nothing is asked for
	}
	if c.SysCtl == nil {
		c.SysCtl = parameters{}
	}
	maps.Copy(c.SysCtl, c.Args.CNI.SysCtl)
	return c, nil
}

// parseWanted parses and checks what the interface is to have. DEL and GC need none of it: a value that was refused by ADD
// must not keep the container that came of it.
func parseWanted(ctx context.Context, args *skel.CmdArgs) (*config, error) {
	c, err := configured(ctx, args)
	if err != nil {
		return nil, err
	}
	if c.want.MAC != "" {
		mac, err := net.ParseMAC(c.want.MAC)
		if err != nil {
			return nil, plugin.ConfigError("hardware address: %v", err)
		}
		c.want.MAC = mac.String()
	}
	if c.want.MTU < 0 {
		return nil, plugin.ConfigError("mtu %d is negative", c.want.MTU)
	}
	return c, nil
}

// parameter is the path below /proc/sys that a key names, with dots or slashes; IFNAME stands for the interface. Keys
// outside the network, which belong to the whole host, are refused.
func parameter(key, ifName string) (string, error) {
	name := strings.Replace(strings.ReplaceAll(key, ".", "/"), "IFNAME", ifName, 1)
	if name = filepath.Clean(name); !filepath.IsLocal(name) || !strings.HasPrefix(name, "net/") {
		return "", plugin.ConfigError("invalid net sysctl key: %q", key)
	}
	return name, nil
}

// checkAllowed holds the parameters against the list of allowed ones.
func (c *config) checkAllowed(file string) error {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return types.NewError(types.ErrIOFailure, fmt.Sprintf("read list of allowed sysctls: %v", err), "")
	}
	var allowed []*regexp.Regexp
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		pattern, err := regexp.Compile(line)
		if err != nil {
			return plugin.ConfigError("list of allowed sysctls %s: %v", file, err)
		}
		allowed = append(allowed, pattern)
	}
	for key := range c.SysCtl {
		if !slices.ContainsFunc(allowed, func(p *regexp.Regexp) bool { return p.MatchString(key) }) {
			return plugin.ConfigError("Sysctl %s is not allowed. Only the following sysctls are allowed: %v", key, allowed)
		}
	}
	return nil
}
