// SPDX-License-Identifier: Apache-2.0

package client

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Request is one request to the API server that is over. Of a watch only the beginning counts.
type Request struct {
	Method, Host string
	Code         string // HTTP status; <error> where no answer came
	Watch        bool
	Took         time.Duration // until the answer's header
}

// Observe has every request from now on told to observe; nil to nobody. There is one observer.
func (c *Client) Observe(observe func(Request)) { c.observer.Store(&observe) }

// observed tells of requests.
type observed struct {
	http.RoundTripper
	observer *atomic.Pointer[func(Request)]
}

var _ utilnet.RoundTripperWrapper = observed{}

// WrappedRoundTripper returns the transport inside.
func (o observed) WrappedRoundTripper() http.RoundTripper { return o.RoundTripper }

// RoundTrip does the request with the transport inside.
func (o observed) RoundTrip(request *http.Request) (*http.Response, error) {
	observe := o.observer.Load()
	if observe == nil || *observe == nil {
		return o.RoundTripper.RoundTrip(request)
	}
	begin := time.Now()
	response, err := o.RoundTripper.RoundTrip(request)
	done := Request{Method: request.Method, Host: request.URL.Host, Code: "<error>", Took: time.Since(begin)}
	done.Watch = request.URL.Query().Get("watch") == "true"
	if err == nil {
		done.Code = strconv.Itoa(response.StatusCode)
	}
	(*observe)(done)
	return response, err
}
