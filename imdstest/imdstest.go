// Package imdstest is an EC2 instance metadata service for the tests of Go
// programs. It answers as the service on a Nitro instance does, with the ECS
// credential namespaces, over a real listener on the loopback interface:
//
//	func TestMyProgram(t *testing.T) {
//		server := imdstest.New(t, imdstest.Options{Config: imds.Config{Role: "web"}})
//		server.Setenv(t) // for the AWS SDKs' default clients; or use server.URL()
//
//		server.Set("spot/instance-action", `{"action":"terminate","time":"2026-11-21T12:00:00Z"}`)
//		server.Fail("/latest/meta-data/*", 503, 2) // the next two requests fail
//		…
//	}
//
// Values, tags, options, credentials and namespaces can be changed at any
// time, and the next request sees the change. Faults break what is served.
// Requests says what was asked for. Credentials are made up, in the form of
// real ones; no request leaves the process.
//
// Methods that change what is served fail the test when the change is one
// that a real instance could not have.
package imdstest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

// Options say what is served. The zero value is a whole, sensible instance
// without a role.
type Options struct {
	// Config is the instance, its options, tags, role, user data and
	// namespaces.
	Config imds.Config
	// Provider obtains credentials. Nil: they are made up and last six hours.
	// It is asked when the server starts and for each change, not again when
	// credentials come to their end: Rotate and RotateTaskRole do that. What it
	// fails to obtain is told as an impossible change is; local.Denied is not.
	Provider imds.Provider
	// Log gets a line for each request. Nil: there is none.
	Log *slog.Logger
}

// Server is an instance metadata service. Its methods are safe for concurrent
// use.
type Server struct {
	service *imds.Service
	http    *httptest.Server
	broken  func(error) // what to do with a change that cannot be
	helper  func()      // leaves a method out of the lines that a test names
	faults  *faults
	role    string                  // the instance's
	arn     func(local.Role) string // of a role that may be a name

	mu     sync.Mutex
	denied map[string]bool // by ARN
}

// New starts a server that ends with the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(o, func(err error) {
		t.Helper()
		t.Errorf("change the instance metadata service: %v", err)
	})
	if err != nil {
		t.Fatalf("start the instance metadata service: %v", err)
	}
	s.helper = t.Helper
	t.Cleanup(s.Close)
	return s
}

// Start starts a server where there is no test, as in an example. Close ends
// it. broken is told of a change that a real instance could not have; nil
// panics then.
func Start(o Options, broken func(error)) (*Server, error) {
	if broken == nil {
		broken = func(err error) { panic(fmt.Sprintf("imdstest: change the instance metadata service: %v", err)) }
	}
	account, partition := cmp.Or(o.Config.Instance.AccountID, local.DefaultAccount), local.Partition(o.Config.Instance.Region)
	s := &Server{denied: map[string]bool{}, broken: broken, helper: func() {}, role: o.Config.Role}
	s.arn = func(r local.Role) string { return cmp.Or(r.ARN, local.RoleARN(partition, account, r.Name)) }
	provider := o.Provider
	if provider == nil {
		provider = s.madeUp
	}
	service, err := imds.New(o.Config, imds.Deps{Provider: s.deniable(provider)})
	if err != nil {
		return nil, err
	}
	if err := service.Refresh(context.Background()); err != nil {
		return nil, err
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s.service = service
	s.faults = newFaults(handlers.NewIMDS(service, log))
	s.http = httptest.NewUnstartedServer(s.faults)
	s.http.Config.ConnContext = handlers.ConnContext
	s.http.Config.DisableGeneralOptionsHandler = true
	s.http.Start()
	return s, nil
}

// Close ends the server and what it still delays: nobody answers from then on.
// It may be called before the test ends, and more than once.
func (s *Server) Close() {
	s.faults.close()
	s.http.CloseClientConnections()
	s.http.Close()
}

// URL returns where the server is, such as http://127.0.0.1:41234. It is what
// AWS_EC2_METADATA_SERVICE_ENDPOINT and the SDKs' own options want.
func (s *Server) URL() string { return s.http.URL }

// Setenv points the AWS SDKs of this process at the server for as long as the
// test lasts, and away from all else: no profile, no other credentials, no
// region. As with every change of the environment, the test must not be
// parallel.
func (s *Server) Setenv(t testing.TB) {
	t.Helper()
	for name, value := range s.Environment() {
		t.Setenv(name, value)
	}
}

// Environment returns the variables that Setenv sets, for a program that the
// test starts.
func (s *Server) Environment() map[string]string {
	env := map[string]string{
		"AWS_EC2_METADATA_SERVICE_ENDPOINT": s.URL(),
		"AWS_EC2_METADATA_DISABLED":         "false",
		"AWS_CONFIG_FILE":                   os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE":       os.DevNull,
	}
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_EC2_METADATA_V1_DISABLED",
	} {
		env[name] = ""
	}
	return env
}

// check reports a change that could not be made.
func (s *Server) check(err error) {
	s.helper()
	if err != nil {
		s.broken(err)
	}
}

// Set puts a value at a path: relative to meta-data/ unless it begins with
// meta-data/ or dynamic/, or is user-data.
func (s *Server) Set(path, value string) {
	s.helper()
	s.check(s.service.SetValue(path, []byte(value)))
}

// Remove removes a value, or a directory with all that is in it. What is not
// there is removed already.
func (s *Server) Remove(path string) {
	s.helper()
	if err := s.service.RemoveValue(path); local.CodeOf(err) != local.NotFound {
		s.check(err)
	}
}

// SetTags makes these the tags of the instance, and shows them.
func (s *Server) SetTags(tags map[string]string) {
	s.helper()
	const dir, set = "tags/instance", "tag-sets/instance"
	// Another instance says how tags look, and whether it could have them.
	other, err := imds.New(imds.Config{Tags: maps.Clone(tags), Options: imds.Options{InstanceMetadataTags: imds.Enabled}}, imds.Deps{})
	if err != nil {
		s.check(err)
		return
	}
	text, err := other.Value(set)
	s.check(err)
	s.SetOptions(imds.Options{InstanceMetadataTags: imds.Enabled})
	s.Remove(dir)
	for key, value := range tags {
		s.Set(dir+"/"+key, value)
	}
	s.Set(set, string(text))
}

// SetOptions changes the options that are not empty in o.
func (s *Server) SetOptions(o imds.Options) {
	s.helper()
	s.check(s.service.SetOptions(o))
}

// Rotate gives the instance's role other keys.
func (s *Server) Rotate() {
	s.helper()
	s.check(s.service.Rotate(context.Background()))
}

// PutTaskRole adds or replaces an entry of a namespace, such as iam-ecs-1. The
// type of the role is imds.TaskApplication or imds.TaskExecution.
func (s *Server) PutTaskRole(namespace, task, roleType, role string) {
	s.helper()
	s.check(s.service.PutTaskRoles(namespace, imds.TaskRole{Task: task, RoleType: roleType, Role: role}))
	s.check(s.service.Refresh(context.Background()))
}

// RotateTaskRole gives an entry of a namespace other keys.
func (s *Server) RotateTaskRole(namespace, task, roleType string) {
	s.helper()
	s.check(s.service.RotateTaskRole(context.Background(), namespace, task, roleType))
}

// RemoveTaskRole removes an entry of a namespace.
func (s *Server) RemoveTaskRole(namespace, task, roleType string) {
	s.helper()
	s.check(s.service.DeleteTaskRole(namespace, task, roleType))
}

// RemoveNamespace removes a namespace with all that is in it.
func (s *Server) RemoveNamespace(namespace string) {
	s.helper()
	s.check(s.service.DeleteNamespace(namespace))
}

// SetNamespaceFormat changes the form of the namespaces' info documents.
func (s *Server) SetNamespaceFormat(f imds.NamespaceFormat) {
	s.helper()
	s.check(s.service.SetNamespaceFormat(f))
}

// Deny makes a role, by name or ARN, one that cannot be assumed:
// AssumeRoleUnauthorizedAccess stands where its credentials were. Allow ends
// that.
func (s *Server) Deny(role string) {
	s.helper()
	s.decide(role, true)
}

// Allow makes a role one that can be assumed again.
func (s *Server) Allow(role string) {
	s.helper()
	s.decide(role, false)
}

func (s *Server) decide(role string, denied bool) {
	s.helper()
	parsed, err := local.ParseRole(role)
	if err != nil {
		s.check(err)
		return
	}
	arn := s.arn(parsed)
	s.mu.Lock()
	s.denied[arn] = denied
	s.mu.Unlock()
	s.renew(arn)
}

// renew asks anew for the credentials of a role, wherever it is.
func (s *Server) renew(arn string) {
	s.helper()
	for _, n := range s.service.Namespaces() {
		for _, state := range n.Roles {
			if parsed, err := local.ParseRole(state.Role); err == nil && s.arn(parsed) == arn {
				s.RotateTaskRole(n.Name, state.Task, state.RoleType)
			}
		}
	}
	if own, err := local.ParseRole(s.role); err == nil && s.arn(own) == arn {
		s.Rotate()
	}
}

// deniable refuses the roles that Deny names.
func (s *Server) deniable(next imds.Provider) imds.Provider {
	return func(ctx context.Context, a imds.Ask) (local.Credentials, error) {
		s.mu.Lock()
		denied := s.denied[s.arn(a.Role)]
		s.mu.Unlock()
		if denied && !a.Role.Session() {
			return local.Credentials{}, &local.Error{
				Code: local.Denied, Name: "AccessDenied", Msg: fmt.Sprintf("the test denies the role %s: call Allow", a.Role), Err: errors.New("denied"),
			}
		}
		return next(ctx, a)
	}
}

// Reset brings back what Options said: values, tags, options, namespaces and
// denied roles. It ends all faults and forgets the requests counted so far.
// Tokens stay valid.
func (s *Server) Reset() {
	s.helper()
	s.faults.reset()
	s.mu.Lock()
	denied := s.denied
	s.denied = map[string]bool{}
	s.mu.Unlock()
	s.service.Reset()
	s.check(s.service.Refresh(context.Background()))
	for role, was := range denied {
		if was {
			s.renew(role)
		}
	}
}
