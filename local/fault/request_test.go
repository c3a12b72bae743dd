package fault_test

import (
	"errors"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local/fault"
)

// comparePrefixes lets cmp look at package netip's values.
var comparePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

const (
	blackhole = `{"Port":6379,"Protocol":"tcp","TrafficType":"egress","SourcesToFilter":["10.0.2.2"]}`
	latency   = `{"DelayMilliseconds":200,"JitterMilliseconds":20,"Sources":["10.0.3.0/24"],"FlowsPercent":50}`
	loss      = `{"LossPercent":5,"Sources":["0.0.0.0/0"]}`
)

func TestParse(t *testing.T) {
	t.Parallel()
	redis := fault.Fault{Kind: fault.BlackholePort, Port: 6379, Protocol: "tcp", TrafficType: "egress", SourcesToFilter: prefixes("10.0.2.2/32")}
	lossy := fault.Fault{Kind: fault.PacketLoss, LossPercent: 5, Sources: prefixes("0.0.0.0/0"), FlowsPercent: 100}
	for _, test := range []struct {
		name   string
		kind   fault.Kind
		action fault.Action
		body   string
		want   fault.Fault
	}{
		{"start a black hole", fault.BlackholePort, fault.Start, blackhole, redis},
		{"stop a black hole", fault.BlackholePort, fault.Stop, blackhole, redis},
		{"status of a black hole", fault.BlackholePort, fault.Status, blackhole, redis},
		{"port 0, unknown keys", fault.BlackholePort, fault.Start, `{"Port":0,"Protocol":"udp","TrafficType":"ingress","Colour":"red"}`,
			fault.Fault{Kind: fault.BlackholePort, Protocol: "udp", TrafficType: "ingress"}},
		{"keys in any case, more after the object", fault.BlackholePort, fault.Start, ` {"port":1,"PROTOCOL":"tcp","trafficType":"egress"} {broken`,
			fault.Fault{Kind: fault.BlackholePort, Port: 1, Protocol: "tcp", TrafficType: "egress"}},
		{"start latency", fault.Latency, fault.Start, latency,
			fault.Fault{Kind: fault.Latency, Delay: 200 * time.Millisecond, Jitter: 20 * time.Millisecond, Sources: prefixes("10.0.3.0/24"), FlowsPercent: 50}},
		{"jitter alone", fault.Latency, fault.Start, `{"DelayMilliseconds":0,"JitterMilliseconds":1,"Sources":["::1"]}`,
			fault.Fault{Kind: fault.Latency, Jitter: time.Millisecond, Sources: prefixes("::1/128"), FlowsPercent: 100}},
		{"delay longer than any", fault.Latency, fault.Start, `{"DelayMilliseconds":18446744073709551615,"JitterMilliseconds":0,"Sources":["::/0"]}`,
			fault.Fault{Kind: fault.Latency, Delay: math.MaxInt64, Sources: prefixes("::/0"), FlowsPercent: 100}},
		{"stop latency without a body", fault.Latency, fault.Stop, "", fault.Fault{Kind: fault.Latency}},
		{"status of latency with a broken body", fault.Latency, fault.Status, "{broken", fault.Fault{Kind: fault.Latency}},
		{"start a loss", fault.PacketLoss, fault.Start, loss, lossy},
		{"stop a loss with another body", fault.PacketLoss, fault.Stop, "[]", fault.Fault{Kind: fault.PacketLoss}},
		{"status of a loss without a body", fault.PacketLoss, fault.Status, "", fault.Fault{Kind: fault.PacketLoss}},
		{"IPv4 in the clothes of IPv6; a block with an address in it", fault.PacketLoss, fault.Start,
			`{"LossPercent":100,"Sources":["::ffff:10.0.0.7","::ffff:10.1.0.0/112","10.2.3.4/8","2001:db8::7/32"],"SourcesToFilter":[],"FlowsPercent":1}`,
			fault.Fault{Kind: fault.PacketLoss, LossPercent: 100, FlowsPercent: 1,
				Sources: prefixes("10.0.0.7/32", "10.1.0.0/16", "10.0.0.0/8", "2001:db8::/32")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := fault.Parse(test.kind, test.action, strings.NewReader(test.body))
			if diff := cmp.Diff(test.want, got, comparePrefixes); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// Every request that lacks something, or has something wrong, is refused in the
// agent's words; of several mistakes the first one counts.
func TestBadRequestsAreRefusedInTheAgentsWordsCheck18(t *testing.T) {
	t.Parallel()
	hole := func(fields string) string { return `{"Port":1,"Protocol":"tcp","TrafficType":"egress",` + fields + `}` }
	late := func(fields string) string {
		return `{"DelayMilliseconds":1,"JitterMilliseconds":1,"Sources":["10.0.0.1"],` + fields + `}`
	}
	lossy := func(fields string) string { return `{"LossPercent":1,"Sources":["10.0.0.1"],` + fields + `}` }
	all := []fault.Kind{fault.BlackholePort, fault.Latency, fault.PacketLoss}
	holes, lates, losses := all[:1], all[1:2], all[2:]
	for _, test := range []struct {
		kinds []fault.Kind
		body  string
		want  string
	}{
		{all, "", "required request body is missing"},
		{all, " \n\t", "required request body is missing"},
		{all, "{", "unexpected EOF"},
		{all, `{"Port"`, "unexpected EOF"},
		{all, "x", "invalid character 'x' looking for beginning of value"},

		{holes, "[]", "json: cannot unmarshal array into Go value of type types.NetworkBlackholePortRequest"},
		{lates, `"x"`, "json: cannot unmarshal string into Go value of type types.NetworkLatencyRequest"},
		{losses, "7", "json: cannot unmarshal number into Go value of type types.NetworkPacketLossRequest"},
		{holes, `{"Port":"80"}`, "json: cannot unmarshal string into Go struct field NetworkBlackholePortRequest.Port of type uint16"},
		{holes, `{"Port":70000}`, "json: cannot unmarshal number 70000 into Go struct field NetworkBlackholePortRequest.Port of type uint16"},
		{holes, `{"Protocol":6}`, "json: cannot unmarshal number into Go struct field NetworkBlackholePortRequest.Protocol of type string"},
		{lates, `{"DelayMilliseconds":-1}`, "json: cannot unmarshal number -1 into Go struct field NetworkLatencyRequest.DelayMilliseconds of type uint64"},
		{lates, `{"Sources":"10.0.0.1"}`, "json: cannot unmarshal string into Go struct field NetworkLatencyRequest.Sources of type []*string"},
		{losses, `{"LossPercent":1.5}`, "json: cannot unmarshal number 1.5 into Go struct field NetworkPacketLossRequest.LossPercent of type uint64"},
		{losses, `{"FlowsPercent":"all"}`, "json: cannot unmarshal string into Go struct field NetworkPacketLossRequest.FlowsPercent of type int"},

		{holes, "null", "required parameter Port is missing"},
		{holes, "{}", "required parameter Port is missing"},
		{holes, `{"Protocol":"x","TrafficType":"x","SourcesToFilter":["x"]}`, "required parameter Port is missing"},
		{holes, `{"Port":null,"Protocol":"tcp","TrafficType":"egress"}`, "required parameter Port is missing"},
		{holes, `{"Port":1,"TrafficType":"x"}`, "required parameter Protocol is missing"},
		{holes, `{"Port":1,"Protocol":"","TrafficType":"egress"}`, "required parameter Protocol is missing"},
		{holes, `{"Port":1,"Protocol":"x"}`, "required parameter TrafficType is missing"},
		{holes, `{"Port":1,"Protocol":"tcp","TrafficType":""}`, "required parameter TrafficType is missing"},
		{holes, `{"Port":1,"Protocol":"TCP","TrafficType":"x"}`, "invalid value TCP for parameter Protocol"},
		{holes, `{"Port":1,"Protocol":"icmp","TrafficType":"egress"}`, "invalid value icmp for parameter Protocol"},
		{holes, `{"Port":1,"Protocol":"udp","TrafficType":"Egress","SourcesToFilter":["x"]}`, "invalid value Egress for parameter TrafficType"},
		{holes, hole(`"SourcesToFilter":["10.0.0.1","example.com","x"]`), "invalid value example.com for parameter SourcesToFilter"},
		{holes, hole(`"SourcesToFilter":[null]`), "invalid value  for parameter SourcesToFilter"},
		{holes, hole(`"SourcesToFilter":[""]`), "invalid value  for parameter SourcesToFilter"},
		{holes, hole(`"SourcesToFilter":["10.0.0.0/33"]`), "invalid value 10.0.0.0/33 for parameter SourcesToFilter"},
		{holes, hole(`"SourcesToFilter":["fe80::1%eth0"]`), "invalid value fe80::1%eth0 for parameter SourcesToFilter"},

		{lates, "null", "required parameter DelayMilliseconds is missing"},
		{lates, `{"JitterMilliseconds":0}`, "required parameter DelayMilliseconds is missing"},
		{lates, `{"DelayMilliseconds":0}`, "required parameter JitterMilliseconds is missing"},
		{lates, `{"DelayMilliseconds":0,"JitterMilliseconds":0}`, "required either DelayMilliseconds or JitterMilliseconds to be non-zero"},
		{lates, `{"DelayMilliseconds":1,"JitterMilliseconds":0,"SourcesToFilter":["x"]}`, "required parameter Sources is missing"},
		{lates, `{"DelayMilliseconds":1,"JitterMilliseconds":0,"Sources":[]}`, "required parameter Sources is missing"},
		{lates, `{"DelayMilliseconds":1,"JitterMilliseconds":0,"Sources":["localhost"],"SourcesToFilter":["x"]}`, "invalid value localhost for parameter Sources"},
		{lates, late(`"SourcesToFilter":["x"],"FlowsPercent":0`), "invalid value x for parameter SourcesToFilter"},
		{lates, late(`"FlowsPercent":0`), "invalid value 0 for parameter flowsPercent"},
		{lates, late(`"FlowsPercent":101`), "invalid value 101 for parameter flowsPercent"},

		{losses, "{}", "required parameter LossPercent is missing"},
		{losses, `{"LossPercent":0}`, "invalid value 0 for parameter LossPercent"},
		{losses, `{"LossPercent":101}`, "invalid value 101 for parameter LossPercent"},
		{losses, `{"LossPercent":18446744073709551615}`, "invalid value -1 for parameter LossPercent"},
		{losses, `{"LossPercent":1}`, "required parameter Sources is missing"},
		{losses, `{"LossPercent":1,"Sources":[null]}`, "invalid value  for parameter Sources"},
		{losses, lossy(`"SourcesToFilter":["10.0.0.256"],"FlowsPercent":0`), "invalid value 10.0.0.256 for parameter SourcesToFilter"},
		{losses, lossy(`"FlowsPercent":-5`), "invalid value -5 for parameter flowsPercent"},
	} {
		for _, kind := range test.kinds {
			actions := []fault.Action{fault.Start}
			if kind == fault.BlackholePort {
				actions = append(actions, fault.Stop, fault.Status)
			}
			for _, action := range actions {
				_, err := fault.Parse(kind, action, strings.NewReader(test.body))
				refused, ok := errors.AsType[*fault.Error](err)
				if !ok || refused.HTTPStatus != http.StatusBadRequest || refused.Text != test.want {
					t.Errorf("%s %s %s:\n got %v\nwant %s", action, kind, test.body, err, test.want)
				}
			}
		}
	}
}

// A task must not lose the endpoint that ends its faults.
func TestExempt(t *testing.T) {
	t.Parallel()
	own := prefixes("10.0.0.0/8")
	with := prefixes("10.0.0.0/8", "169.254.170.2/32")
	for _, test := range []struct {
		name string
		f    fault.Fault
		want []netip.Prefix
	}{
		{"egress to port 80", fault.Fault{Kind: fault.BlackholePort, Port: 80, Protocol: "tcp", TrafficType: "egress", SourcesToFilter: own}, with},
		{"egress to another port", fault.Fault{Kind: fault.BlackholePort, Port: 8080, Protocol: "tcp", TrafficType: "egress", SourcesToFilter: own}, own},
		{"ingress at port 80", fault.Fault{Kind: fault.BlackholePort, Port: 80, Protocol: "tcp", TrafficType: "ingress", SourcesToFilter: own}, own},
		{"latency", fault.Fault{Kind: fault.Latency, SourcesToFilter: own}, with},
		{"a loss", fault.Fault{Kind: fault.PacketLoss}, with[1:]},
	} {
		if diff := cmp.Diff(test.want, test.f.Exempt(), comparePrefixes); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
	if len(own) != 1 {
		t.Error("the request's own list was changed")
	}
}
