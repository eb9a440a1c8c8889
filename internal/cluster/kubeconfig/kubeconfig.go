// SPDX-License-Identifier: Apache-2.0

// Package kubeconfig adds a cluster's context to a person's kubeconfig and takes it out again, as kind does: cluster,
// user and context share one name, the context becomes the current one, and everything else in the file stays.
package kubeconfig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// File chooses the file to write, by the value of KUBECONFIG and the home folder: the first file of the list that
// exists, else its last, else ~/.kube/config.
func File(list, home string) string {
	var last string
	for _, file := range filepath.SplitList(list) {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err == nil {
			return file
		}
		last = file
	}
	if last != "" {
		return last
	}
	return filepath.Join(home, clientcmd.RecommendedHomeDir, clientcmd.RecommendedFileName)
}

// Merge writes the first context of the kubeconfig in source into target under name and makes it the current one. It
// reports whether it created target.
func Merge(source, target, name string) (created bool, err error) {
	from, err := clientcmd.LoadFromFile(source)
	if err != nil {
		return false, fmt.Errorf("read the cluster's kubeconfig %s: %w", source, err)
	}
	_, err = os.Stat(target)
	created = errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return false, fmt.Errorf("create the folder of kubeconfig %s: %w", target, err)
	}
	return created, modify(target, func(config *api.Config) (bool, error) { return true, add(config, from, name) })
}

// Remove takes the context called name, with its cluster and user, out of the file. A file or context that is not there is
// no error. With whole set, a file in which nothing is left is deleted.
func Remove(target, name string, whole bool) error {
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	empty := false
	err := modify(target, func(config *api.Config) (bool, error) {
		changed := drop(config, name)
		empty = len(config.Clusters)+len(config.AuthInfos)+len(config.Contexts) == 0
		return changed, nil
	})
	if err != nil || !whole || !empty {
		return err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the empty kubeconfig: %w", err)
	}
	return nil
}

// modify changes one file. kubectl's own lock file guards it; somebody who holds it is waited for a little.
func modify(target string, change func(*api.Config) (bool, error)) error {
	access := clientcmd.NewDefaultPathOptions()
	access.LoadingRules.ExplicitPath = target
	config, err := clientcmd.LoadFromFile(target)
	if errors.Is(err, fs.ErrNotExist) {
		config, err = api.NewConfig(), nil
	}
	if err != nil {
		return fmt.Errorf("read kubeconfig %s: %w", target, err)
	}
	for attempt := range 20 {
		if attempt > 0 {
			time.Sleep(50 * time.Millisecond)
			if config, err = clientcmd.LoadFromFile(target); err != nil {
				return fmt.Errorf("read kubeconfig %s: %w", target, err)
			}
		}
		changed, changeErr := change(config)
		if changeErr != nil || !changed {
			return changeErr
		}
		if err = clientcmd.ModifyConfig(access, *config, false); err == nil {
			return nil
		}
		if !strings.Contains(err.Error(), ".lock") {
			break
		}
	}
	return fmt.Errorf("write kubeconfig %s: %w", target, err)
}

// add puts the current (or only) context of from into config, under one name.
func add(config, from *api.Config, name string) error {
	context := from.Contexts[from.CurrentContext]
	for _, only := range from.Contexts {
		if context == nil && len(from.Contexts) == 1 {
			context = only
		}
	}
	if context == nil {
		return fmt.Errorf("the cluster's kubeconfig has no current context")
	}
	cluster, user := from.Clusters[context.Cluster], from.AuthInfos[context.AuthInfo]
	if cluster == nil || user == nil {
		return fmt.Errorf("the cluster's kubeconfig has no cluster %q or no user %q", context.Cluster, context.AuthInfo)
	}
	cluster, user = cluster.DeepCopy(), user.DeepCopy()
	// clientcmd writes an entry to the file that it came from; these belong to the target.
	cluster.LocationOfOrigin, user.LocationOfOrigin = "", ""
	config.Clusters[name], config.AuthInfos[name] = cluster, user
	config.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name, Namespace: context.Namespace}
	config.CurrentContext = name
	return nil
}

// drop takes out what add put in and reports whether there was anything.
func drop(config *api.Config, name string) bool {
	before := len(config.Clusters) + len(config.AuthInfos) + len(config.Contexts)
	delete(config.Clusters, name)
	delete(config.AuthInfos, name)
	delete(config.Contexts, name)
	changed := before != len(config.Clusters)+len(config.AuthInfos)+len(config.Contexts)
	if config.CurrentContext == name {
		config.CurrentContext = ""
		changed = true
	}
	return changed
}
