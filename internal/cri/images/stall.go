// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// stallTimeout is how long a registry may send nothing in the middle of an answer.
const stallTimeout = time.Minute

// errStalled is why a pull fails whose registry sends nothing more.
var errStalled = errors.New("the registry does not go on")

// patient sends requests, counts what comes, and ends the whole pull by cancel when the answer to one comes to a stop. How long reading takes that is held up on
// this side, by a slow disk say, does not count.
type patient struct {
	next   http.RoundTripper
	cancel context.CancelCauseFunc
	limit  time.Duration
	meter  *meter
}

// RoundTrip sends one request.
func (p *patient) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := p.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	answer.Body = &patientBody{ReadCloser: answer.Body, patient: p, host: request.URL.Host}
	return answer, nil
}

type patientBody struct {
	io.ReadCloser
	*patient
	host string
}

// Read waits for the next part for as long as the limit says.
func (b *patientBody) Read(p []byte) (int, error) {
	timer := time.AfterFunc(b.limit, func() {
		b.cancel(fmt.Errorf("%w: %s has sent nothing for %s in the middle of an answer", errStalled, b.host, b.limit))
	})
	defer timer.Stop()
	n, err := b.ReadCloser.Read(p)
	b.meter.fetched.Add(int64(n))
	return n, err
}
