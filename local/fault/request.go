package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// The requests. Their names, and those of their fields' types, are in the texts
// of encoding/json that clients get to see.
// https://github.com/aws/amazon-ecs-agent/blob/master/ecs-agent/tmds/handlers/fault/v1/types/types.go

// NetworkBlackholePortRequest is the body of all requests about a black hole.
type NetworkBlackholePortRequest struct {
	Port            *uint16
	Protocol        *string
	TrafficType     *string
	SourcesToFilter []*string
}

// NetworkLatencyRequest is the body that starts latency.
type NetworkLatencyRequest struct {
	DelayMilliseconds  *uint64
	JitterMilliseconds *uint64
	Sources            []*string
	SourcesToFilter    []*string
	FlowsPercent       *int
}

// NetworkPacketLossRequest is the body that starts a loss of packets.
type NetworkPacketLossRequest struct {
	LossPercent     *uint64
	Sources         []*string
	SourcesToFilter []*string
	FlowsPercent    *int
}

// Parse returns the fault that the body of a request means. To stop latency or
// a loss, or to ask for its status, the kind alone counts, and the body is not
// read. The error is an *Error with the agent's text.
func Parse(kind Kind, action Action, body io.Reader) (Fault, error) {
	switch {
	case kind == BlackholePort:
		return parse(body, NetworkBlackholePortRequest.fault)
	case action != Start:
		return Fault{Kind: kind}, nil
	case kind == Latency:
		return parse(body, NetworkLatencyRequest.fault)
	default:
		return parse(body, NetworkPacketLossRequest.fault)
	}
}

// parse decodes the first value of a body, whatever comes after it, and checks
// its fields.
func parse[T any](body io.Reader, check func(T) (Fault, error)) (Fault, error) {
	var request T
	err := json.NewDecoder(body).Decode(&request)
	switch {
	case errors.Is(err, io.EOF):
		return Fault{}, invalid("required request body is missing")
	case err != nil:
		// The agent has its requests in a package called types.
		return Fault{}, invalid(strings.Replace(err.Error(), " fault.Network", " types.Network", 1))
	}
	return check(request)
}

func (r NetworkBlackholePortRequest) fault() (Fault, error) {
	switch {
	case r.Port == nil:
		return Fault{}, missing("Port")
	case r.Protocol == nil || *r.Protocol == "":
		return Fault{}, missing("Protocol")
	case r.TrafficType == nil || *r.TrafficType == "":
		return Fault{}, missing("TrafficType")
	case *r.Protocol != TCP && *r.Protocol != UDP:
		return Fault{}, invalidValue(*r.Protocol, "Protocol")
	case *r.TrafficType != Ingress && *r.TrafficType != Egress:
		return Fault{}, invalidValue(*r.TrafficType, "TrafficType")
	}
	filter, err := prefixes(r.SourcesToFilter, "SourcesToFilter")
	if err != nil {
		return Fault{}, err
	}
	return Fault{Kind: BlackholePort, Port: *r.Port, Protocol: *r.Protocol, TrafficType: *r.TrafficType, SourcesToFilter: filter}, nil
}

func (r NetworkLatencyRequest) fault() (Fault, error) {
	switch {
	case r.DelayMilliseconds == nil:
		return Fault{}, missing("DelayMilliseconds")
	case r.JitterMilliseconds == nil:
		return Fault{}, missing("JitterMilliseconds")
	case *r.DelayMilliseconds == 0 && *r.JitterMilliseconds == 0:
		return Fault{}, invalid("required either DelayMilliseconds or JitterMilliseconds to be non-zero")
	}
	f := Fault{Kind: Latency, Delay: milliseconds(*r.DelayMilliseconds), Jitter: milliseconds(*r.JitterMilliseconds)}
	return f.toward(r.Sources, r.SourcesToFilter, r.FlowsPercent)
}

func (r NetworkPacketLossRequest) fault() (Fault, error) {
	switch {
	case r.LossPercent == nil:
		return Fault{}, missing("LossPercent")
	case *r.LossPercent < 1 || *r.LossPercent > 100:
		// The agent prints a signed number.
		return Fault{}, invalidValue(int64(*r.LossPercent), "LossPercent")
	}
	f := Fault{Kind: PacketLoss, LossPercent: int(*r.LossPercent)}
	return f.toward(r.Sources, r.SourcesToFilter, r.FlowsPercent)
}

// toward checks what latency and loss have in common.
func (f Fault) toward(sources, filter []*string, flows *int) (Fault, error) {
	if len(sources) == 0 {
		return Fault{}, missing("Sources")
	}
	var err error
	if f.Sources, err = prefixes(sources, "Sources"); err != nil {
		return Fault{}, err
	}
	if f.SourcesToFilter, err = prefixes(filter, "SourcesToFilter"); err != nil {
		return Fault{}, err
	}
	f.FlowsPercent = 100
	if flows != nil {
		f.FlowsPercent = *flows
	}
	if f.FlowsPercent < 1 || f.FlowsPercent > 100 {
		return Fault{}, invalidValue(f.FlowsPercent, "flowsPercent") // the agent's spelling
	}
	return f, nil
}

// prefixes reads addresses and CIDR blocks.
func prefixes(list []*string, parameter string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, entry := range list {
		text := ""
		if entry != nil {
			text = *entry
		}
		prefix, ok := prefixOf(text)
		if !ok {
			return nil, invalidValue(text, parameter)
		}
		out = append(out, prefix)
	}
	return out, nil
}

// prefixOf reads an address or a CIDR block as package net does, which knows
// no zones. What is IPv4 in the clothes of IPv6 becomes IPv4.
func prefixOf(text string) (netip.Prefix, bool) {
	if addr, ok := netip.AddrFromSlice(net.ParseIP(text)); ok {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), true
	}
	_, block, err := net.ParseCIDR(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	addr, _ := netip.AddrFromSlice(block.IP)
	bits, _ := block.Mask.Size()
	const mapped = 96
	if addr.Is4In6() && bits >= mapped {
		addr, bits = addr.Unmap(), bits-mapped
	}
	return netip.PrefixFrom(addr, bits), true
}

// milliseconds returns a duration; the longest there is for a longer one.
func milliseconds(n uint64) time.Duration {
	if n > math.MaxInt64/uint64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Millisecond
}

// Error is a request that is not done, as the agent words it.
type Error struct {
	HTTPStatus int
	Text       string
	Err        error // the cause, for the log; nil when the text says it all
}

// Error returns the text and the cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Text
	}
	return e.Text + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func invalid(text string) *Error { return &Error{HTTPStatus: http.StatusBadRequest, Text: text} }

func missing(parameter string) *Error {
	return invalid("required parameter " + parameter + " is missing")
}

func invalidValue(value any, parameter string) *Error {
	return invalid(fmt.Sprintf("invalid value %v for parameter %s", value, parameter))
}
