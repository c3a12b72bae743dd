package config

import (
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/ecs-local/ecs-local/local"
)

// rule says whether a text is good for a key, and if not what it must be.
type rule func(s string) (must string)

// matching is the rule for what matches a pattern as a whole.
func matching(pattern, must string) rule {
	// Compiled when a file has such a key: most runs have no file.
	re := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?:` + pattern + `)$`) })
	return func(s string) string {
		if re().MatchString(s) {
			return ""
		}
		return must
	}
}

// The rules. Limits of names are those of the ECS API.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateCluster.html
var (
	clusterRule = matching(`[a-zA-Z0-9_-]{1,255}|arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:cluster/[a-zA-Z0-9_-]{1,255}`,
		"a cluster's name or its ARN (arn:aws:ecs:us-east-1:111122223333:cluster/name)")
	regionRule   = matching(`[a-z]{2,}(-[a-z]+)+-\d+`, "a region such as us-east-1")
	accountRule  = matching(`\d{12}`, `the 12 digits of an account, in quotes: "111122223333"`)
	vpcRule      = matching(`vpc-[0-9a-f]{8,17}`, "the id of a VPC such as vpc-05bcc4ceabe1df195")
	familyRule   = matching(`[a-zA-Z0-9_-]{1,255}`, "at most 255 letters, digits, - and _")
	serviceRule  = familyRule
	revisionRule = matching(`[1-9]\d{0,9}`, "a whole number from 1")
	taskARNRule  = matching(`arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:task/([a-zA-Z0-9_-]{1,255}/)?[a-zA-Z0-9-]{1,255}`,
		"the ARN of a task: arn:aws:ecs:us-east-1:111122223333:task/cluster/id")
	zoneRule    = matching(`[a-z]{2,}(-[a-z0-9]+)+[a-z]`, "an availability zone such as us-east-1a")
	zoneIDRule  = matching(`[a-z0-9]+(-[a-z0-9]+)*-az\d+`, "the id of an availability zone such as use1-az6")
	imageRule   = matching(`\S+`, "the name of an image, without spaces")
	imageIDRule = matching(`sha256:[0-9a-f]{64}`, "sha256: and 64 hex digits")
)

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Task.html
func launchTypeRule(s string) string {
	if slices.Contains([]string{"EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES"}, s) {
		return ""
	}
	return "EC2, FARGATE, EXTERNAL or MANAGED_INSTANCES"
}

func roleRule(s string) string {
	if _, err := local.ParseRole(s); err != nil {
		return "a role's name, path/name, or ARN (arn:aws:iam::111122223333:role/name)"
	}
	return ""
}

// scalar returns a single value as it stands in the file, so that numbers and
// words such as no need no quotes.
func (r *reader) scalar(v *value, must string) (string, bool) {
	if v.Kind == yaml.ScalarNode && !isNull(v.Node) {
		return v.Value, true
	}
	if isNull(v.Node) {
		r.problem(v.line, "%s has no value: it must be %s; to say nothing, remove the key", v.key, must)
	} else {
		r.problem(v.line, "%s must be %s, not %s", v.key, must, kindOf(v.Node))
	}
	return "", false
}

// checked is scalar for a value that obeys a rule.
func (r *reader) checked(v *value, good rule) (string, bool) {
	s, ok := r.scalar(v, "text")
	if !ok {
		return "", false
	}
	if must := good(s); must != "" {
		r.problem(v.line, "%s must be %s, not %q", v.key, must, s)
		return "", false
	}
	return s, true
}

func (r *reader) text(to *string, good rule) func(*value) {
	return func(v *value) {
		if s, ok := r.checked(v, good); ok {
			*to = s
		}
	}
}

// texts reads a map of text, such as tags. Its values may be empty, in quotes.
func (r *reader) texts(to *map[string]string) func(*value) {
	return func(v *value) {
		for _, p := range r.pairs(v) {
			s, ok := r.scalar(p.value, `text ("" for an empty one)`)
			if !ok {
				continue
			}
			if *to == nil {
				*to = map[string]string{}
			}
			(*to)[p.name] = s
		}
	}
}

func (r *reader) whole(to *int64, must string) func(*value) {
	return func(v *value) {
		s, ok := r.scalar(v, must)
		if !ok {
			return
		}
		// Beyond 2⁴⁰ a count of MiB is no longer one of bytes.
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n <= 0 || n > 1<<40 {
			r.problem(v.line, "%s must be %s, not %q", v.key, must, s)
			return
		}
		*to = n
	}
}

func (r *reader) positive(to *float64, must string) func(*value) {
	return func(v *value) {
		s, ok := r.scalar(v, must)
		if !ok {
			return
		}
		n, err := strconv.ParseFloat(s, 64)
		if err != nil || !(n > 0) || math.IsInf(n, 0) {
			r.problem(v.line, "%s must be %s, not %q", v.key, must, s)
			return
		}
		*to = n
	}
}

func (r *reader) address(to *netip.Addr, container string) func(*value) {
	return func(v *value) {
		const must = "an IPv4 address such as 172.18.0.3"
		s, ok := r.scalar(v, must)
		if !ok {
			return
		}
		addr, err := netip.ParseAddr(s)
		if err != nil || !addr.Is4() {
			r.problem(v.line, "%s must be %s, not %q", v.key, must, s)
			return
		}
		if first, taken := r.claimed(addr.String(), container, v.line); taken {
			r.problem(v.line, "%s belongs to container %s already (line %d): give each container an address of its own", addr, first.container, first.line)
			return
		}
		*to = addr
	}
}

// portPattern is Compose's short form of one port.
// https://docs.docker.com/reference/compose-file/services/#ports
var portPattern = regexp.MustCompile(`^(?:(?:(\d+\.\d+\.\d+\.\d+|\[[0-9a-fA-F:.]+\]):)?(\d+):)?(\d+)(?:/(tcp|udp))?$`)

// ports reads a list of published ports. One number is both the container's
// port and the host's.
func (r *reader) ports(to *[]local.Port) func(*value) {
	return func(v *value) {
		if isNull(v.Node) {
			return
		}
		if v.Kind != yaml.SequenceNode {
			r.problem(v.line, `ports must be a list, such as ["8080:80"], not %s`, kindOf(v.Node))
			return
		}
		for _, item := range v.Content {
			n := r.resolve("a port", item)
			if n == nil {
				continue
			}
			const must = `written as "80", "8080:80", "127.0.0.1:8080:80" or "53:53/udp"`
			s, ok := r.scalar(n, must)
			if !ok {
				continue
			}
			port, ok := parsePort(s)
			if !ok {
				r.problem(n.line, "a port must be %s, not %q", must, s)
				continue
			}
			*to = append(*to, port)
		}
	}
}

func parsePort(s string) (local.Port, bool) {
	m := portPattern.FindStringSubmatch(s)
	if m == nil {
		return local.Port{}, false
	}
	p := local.Port{Protocol: "tcp"}
	if m[4] != "" {
		p.Protocol = m[4]
	}
	if m[1] != "" {
		addr, err := netip.ParseAddr(strings.Trim(m[1], "[]"))
		if err != nil {
			return local.Port{}, false
		}
		p.HostIP = addr.String()
	}
	container, err := strconv.ParseUint(m[3], 10, 16)
	if err != nil || container == 0 {
		return local.Port{}, false
	}
	host := container
	if m[2] != "" {
		if host, err = strconv.ParseUint(m[2], 10, 16); err != nil || host == 0 {
			return local.Port{}, false
		}
	}
	p.Container, p.Host = uint16(container), uint16(host)
	return p, true
}
