package handlers

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

// guard refuses what a web page on the developer's machine could send: a
// request for a foreign host name, which is what DNS rebinding looks like, and
// one that a browser marks as coming from another site.
// https://fetch.spec.whatwg.org/#origin-header
// https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
func (s *server) guard(family string, allowedHosts []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if reason := refusal(r, allowedHosts); reason != "" {
			begun := time.Now() // not for every request: some clocks are slow to read
			refuse(w, r, reason)
			s.logRefusal(r, family, s.known(r), http.StatusForbidden, begun, reason)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// logRefusal writes the one line about a request that no route gets to see.
func (s *server) logRefusal(r *http.Request, family string, who local.Caller, status int, begun time.Time, reason string) {
	attrs := []slog.Attr{
		slog.String("family", family), slog.String("route", "none"), slog.String("method", r.Method),
		slog.Int("status", status), slog.Duration("duration", time.Since(begun)), slog.String("remote", r.RemoteAddr),
	}
	s.log.LogAttrs(r.Context(), slog.LevelWarn, "request refused", append(appendCaller(attrs, who), slog.String("reason", reason))...)
}

// refuse answers 403 with the reason.
func refuse(w http.ResponseWriter, r *http.Request, reason string) {
	status := http.StatusForbidden
	body := mustEncode(credentialsError{Code: string(local.Denied), Message: reason, HTTPErrorCode: status})
	writeBody(w, r, status, "application/json", body)
}

// refusal returns why a request is not answered, or "".
func refusal(r *http.Request, allowedHosts []string) string {
	const option = ": add its name to --allowed-hosts (ECS_LOCAL_ALLOWED_HOSTS) to allow it"
	if !allowedHost(r.Host, allowedHosts) {
		return "the host name " + quoteShort(r.Host) + " is not answered here" + option
	}
	allowed := false
	for _, origin := range r.Header["Origin"] {
		from, ok := hostOfOrigin(origin)
		allowed = ok && listed(hostName(from), allowedHosts)
		if !allowed && origin != "" && (!ok || from != r.Host) {
			return "a request from the web origin " + quoteShort(origin) + " is not answered here" + option
		}
	}
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if !allowed && site != "" && site != "same-origin" && site != "none" {
			return "a request that another web site makes is not answered here" + option
		}
	}
	return ""
}

// hostOfOrigin returns the host, with its port, of the origin of a web page; ok
// is false for what is none, such as null.
func hostOfOrigin(origin string) (host string, ok bool) {
	from, err := url.Parse(origin)
	if err != nil || from.Scheme != "http" && from.Scheme != "https" || from.User != nil {
		return "", false
	}
	return from.Host, from.Host != ""
}

// AllowedHost returns the rule by which every listener answers a host name,
// with or without a port: addresses, localhost, single-label names,
// host.docker.internal and what is listed.
func AllowedHost(list []string) func(host string) bool {
	return func(host string) bool { return allowedHost(host, list) }
}

// allowedHost accepts addresses, localhost, single-label names (which no DNS
// on the internet can hold), none (HTTP/1.0, which no browser speaks),
// host.docker.internal and what is listed.
func allowedHost(host string, list []string) bool {
	name := hostName(host)
	if addr, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil && !strings.Contains(addr.Zone(), ".") {
		return true
	}
	if !strings.ContainsFunc(name, noLabel) || name == "host.docker.internal" {
		return true
	}
	return listed(name, list)
}

// noLabel reports whether a character is none that a single label of a host
// name has: a dot, and what a browser may take for one, or decode to one.
func noLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

func listed(name string, list []string) bool {
	return slices.ContainsFunc(list, func(allowed string) bool { return hostName(allowed) == name })
}

// hostName returns a host without its port and the dot that may end it, in
// lower case.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// quoteShort quotes what a stranger sent, cut to a readable length.
func quoteShort(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(`"`+s+`"`, "?")
}

// instanceAddress6 is where a Nitro instance has its metadata service on IPv6.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
const instanceAddress6 = "fd00:ec2::254"

// ecsAddress is where only the ECS agent answers.
var ecsAddress = netip.MustParseAddr(local.ECSAddress)

// arrivedAt returns the address at which a request's connection arrived, or
// the zero address when it is not known.
func arrivedAt(r *http.Request) netip.Addr {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return addr.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// byAddress keeps the link-local addresses apart, as they are on AWS: a
// connection that arrived at the address of the instance metadata service
// gets nothing of ECS, and the other way round. Every other address serves
// all: the paths do not collide, but for the root, which STS shares with the
// list of versions.
func (s *server) byAddress(ecs, instance, pods http.Handler) http.Handler {
	imds4, imds6 := netip.MustParseAddr(local.IMDSAddress), netip.MustParseAddr(instanceAddress6)
	pods4, pods6 := netip.MustParseAddr(local.PodIdentityAddress), netip.MustParseAddr(local.PodIdentityAddress6)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := arrivedAt(r)
		switch {
		case at == imds4:
			instance.ServeHTTP(w, r)
		case at == imds6:
			if s.imds != nil && s.imds.Options().HTTPProtocolIPv6 != imds.Enabled {
				hangUp(w)
				return
			}
			instance.ServeHTTP(w, r)
		case at == pods4, at == pods6:
			pods.ServeHTTP(w, r)
		case at != ecsAddress && s.imds != nil && ofInstance(r) && !s.asksSTS(r):
			instance.ServeHTTP(w, r)
		default:
			ecs.ServeHTTP(w, r)
		}
	})
}

// hangUp ends the connection without an answer, as if nobody was there.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = conn.Close() // there is nothing to lose
		return
	}
	w.WriteHeader(http.StatusForbidden)
}
