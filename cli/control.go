package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// controlFlags say where the control API of a server that runs is.
type controlFlags struct {
	ControlListen string        `env:"ECS_LOCAL_CONTROL_LISTEN" default:"127.0.0.1:51680" placeholder:"ADDRESS" help:"Where the server's control API listens (${default})."`
	Timeout       time.Duration `default:"15s" help:"How long to wait for the answer (${default})."`
}

// maxControlAnswer is more than any answer of the control API has.
const maxControlAnswer = 16 << 20

// call sends a request to the control API. body, unless nil, goes out as
// JSON; the answer comes into result: JSON, or the bytes when it is a
// *[]byte. An error has what the server says about it.
func (f controlFlags) call(ctx context.Context, method, path string, body, result any) error {
	status, answer, err := f.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	if status >= http.StatusBadRequest {
		var said struct{ Code, Message string }
		_ = json.Unmarshal(answer, &said) // what is no JSON is another program's
		return fmt.Errorf("%s", cmp.Or(said.Message, fmt.Sprintf("%s answered %d %s, which is not ecs-local's answer: check --control-listen", f.url(path), status, http.StatusText(status))))
	}
	if raw, ok := result.(*[]byte); ok {
		*raw = answer
		return nil
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("%s gave an answer that is not ecs-local's: check --control-listen (%w)", f.url(path), err)
	}
	return nil
}

// send is call for those who want the answer whatever its status.
func (f controlFlags) send(ctx context.Context, method, path string, body any) (status int, answer []byte, err error) {
	if f.ControlListen == "" {
		return 0, nil, misuse{fmt.Errorf("the control API is turned off (ECS_LOCAL_CONTROL_LISTEN is empty): give its address with --control-listen")}
	}
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	var sent io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, nil, fmt.Errorf("encode the request: %w", err)
		}
		sent = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, f.url(path), sent)
	if err != nil {
		return 0, nil, misuse{fmt.Errorf("%q is not an address like 127.0.0.1:51680: %w", f.ControlListen, err)}
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := controlClient.Do(request)
	if err != nil {
		return 0, nil, fmt.Errorf("no answer from %s: is \"ecs-local serve\" running with this --control-listen? That of a side-car in Compose is 169.254.170.2:51680 (%w)", f.url(path), err)
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, maxControlAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer of %s: %w", f.url(path), err)
	}
	return response.StatusCode, answer, nil
}

func (f controlFlags) url(path string) string { return "http://" + dialable(f.ControlListen) + path }

// controlClient goes straight to the server: a proxy would be asked to reach
// a loopback address of its own.
var controlClient = &http.Client{Transport: &http.Transport{}}
