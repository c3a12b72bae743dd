package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/gorilla/mux"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

// maxControlBody is the most that a request to the control API may carry.
const maxControlBody = 64 << 10

// instance hands the instance metadata service to an endpoint.
func (c *control) instance(answer func(*imds.Service, *http.Request) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		if c.deps.IMDS == nil {
			return nil, local.Errorf(local.NotFound, "the instance metadata service is off: turn it on in the configuration")
		}
		return answer(c.deps.IMDS, r)
	}
}

// readBody returns the body of a request.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxControlBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, local.Errorf(local.Invalid, "the body is too long: send at most %d bytes", maxControlBody)
	}
	if err != nil {
		return nil, &local.Error{Code: local.Invalid, Msg: "the body did not arrive whole: send it again", Err: err}
	}
	return body, nil
}

// readJSON reads the body of a request into what v points to. example is what
// a right body looks like.
func readJSON(r *http.Request, v any, example string) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	return decodeJSON(body, v, example)
}

// decodeJSON reads a body into what v points to.
func decodeJSON(body []byte, v any, example string) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(v)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("there is more after the object")
		}
	}
	if err != nil {
		return local.Errorf(local.Invalid, "the body is not what is wanted here (%s): send %s",
			strings.TrimPrefix(err.Error(), "json: "), example)
	}
	return nil
}

// imdsValue serves GET /v1/imds/values/{path}: the value that a request with a
// token for the version latest gets, or the listing of a directory.
func imdsValue(service *imds.Service, r *http.Request) (any, error) {
	at := mux.Vars(r)["path"]
	if secret(at) {
		return nil, local.Errorf(local.Denied, "credentials are not shown here: ask the instance metadata service itself, with ecs-local imds get")
	}
	value, err := service.Value(at)
	if err != nil {
		return nil, err
	}
	kind := "text/plain"
	if strings.TrimPrefix(path.Clean("/"+at), "/latest") == "/user-data" {
		kind = "application/octet-stream"
	}
	return plain{kind, value}, nil
}

// secret reports whether the value at a path may be credentials.
func secret(at string) bool {
	const dir = "/security-credentials/"
	return strings.Contains(path.Clean("/"+at), dir)
}

// setIMDSValue serves PUT /v1/imds/values/{path}. The body is the value.
func setIMDSValue(service *imds.Service, r *http.Request) (any, error) {
	value, err := readBody(r)
	if err != nil {
		return nil, err
	}
	return nothing{}, service.SetValue(mux.Vars(r)["path"], value)
}

// removeIMDSValue serves DELETE /v1/imds/values/{path}: the value goes, or the
// directory with all that is in it.
func removeIMDSValue(service *imds.Service, r *http.Request) (any, error) {
	return nothing{}, service.RemoveValue(mux.Vars(r)["path"])
}

// optionsDocument is the answer of /v1/imds/options, and what PATCH takes a
// part of. The names are those of the EC2 API.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceMetadataOptionsResponse.html
type optionsDocument struct {
	HTTPTokens              *string `json:"httpTokens"`
	HTTPEndpoint            *string `json:"httpEndpoint"`
	HTTPPutResponseHopLimit *int    `json:"httpPutResponseHopLimit"`
	HTTPProtocolIPv6        *string `json:"httpProtocolIpv6"`
	InstanceMetadataTags    *string `json:"instanceMetadataTags"`
}

const optionsExample = `any of {"httpTokens": "optional" or "required", "httpEndpoint": "enabled" or "disabled", ` +
	`"httpPutResponseHopLimit": 1 to 64, "httpProtocolIpv6": "enabled" or "disabled", "instanceMetadataTags": "enabled" or "disabled"}`

// imdsOptions serves GET /v1/imds/options.
func imdsOptions(service *imds.Service, _ *http.Request) (any, error) {
	o := service.Options()
	return optionsDocument{&o.HTTPTokens, &o.HTTPEndpoint, &o.HTTPPutResponseHopLimit, &o.HTTPProtocolIPv6, &o.InstanceMetadataTags}, nil
}

// setIMDSOptions serves PATCH /v1/imds/options: what is left out stays.
func setIMDSOptions(service *imds.Service, r *http.Request) (any, error) {
	var d optionsDocument
	if err := readJSON(r, &d, optionsExample); err != nil {
		return nil, err
	}
	patch, err := d.patch()
	if err != nil {
		return nil, err
	}
	if err := service.SetOptions(patch); err != nil {
		return nil, err
	}
	return imdsOptions(service, r)
}

// patch returns the options that the document sets. A bad value is Invalid.
func (d optionsDocument) patch() (imds.Options, error) {
	var patch imds.Options
	var bad error
	choice := func(name string, value *string, to *string, a, b string) {
		switch {
		case value == nil:
		case *value == a || *value == b:
			*to = *value
		default:
			bad = errors.Join(bad, fmt.Errorf("%s must be %q or %q", name, a, b))
		}
	}
	choice("httpTokens", d.HTTPTokens, &patch.HTTPTokens, imds.Optional, imds.Required)
	choice("httpEndpoint", d.HTTPEndpoint, &patch.HTTPEndpoint, imds.Enabled, imds.Disabled)
	choice("httpProtocolIpv6", d.HTTPProtocolIPv6, &patch.HTTPProtocolIPv6, imds.Enabled, imds.Disabled)
	choice("instanceMetadataTags", d.InstanceMetadataTags, &patch.InstanceMetadataTags, imds.Enabled, imds.Disabled)
	if limit := d.HTTPPutResponseHopLimit; limit != nil {
		if patch.HTTPPutResponseHopLimit = *limit; *limit < 1 || *limit > 64 {
			bad = errors.Join(bad, errors.New("httpPutResponseHopLimit must be 1 to 64"))
		}
	}
	if bad != nil {
		return imds.Options{}, local.Errorf(local.Invalid, "%s", strings.ReplaceAll(bad.Error(), "\n", "; "))
	}
	return patch, nil
}

// reset serves POST /v1/reset: the configuration is all there is.
func (c *control) reset(service *imds.Service, r *http.Request) (any, error) {
	service.Reset()
	if c.deps.OnReset != nil {
		c.deps.OnReset()
	}
	// What fails now is tried again, and logged, by who keeps the credentials.
	_ = service.Refresh(context.WithoutCancel(r.Context()))
	return nothing{}, nil
}
