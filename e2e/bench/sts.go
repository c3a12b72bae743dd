package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// fakeSTS stands in for AWS STS on loopback. It counts what it is asked.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_Operations.html
type fakeSTS struct {
	server *http.Server
	url    string

	mu    sync.Mutex
	calls map[string]int // by action
}

const (
	stsAccount = "111122223333"
	// stsDelay is about what the real one takes, and long enough for every
	// request of a burst to come while the first is under way.
	stsDelay = 150 * time.Millisecond
)

func startSTS() (*fakeSTS, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &fakeSTS{url: "http://" + listener.Addr().String(), calls: map[string]int{}}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.server.Serve(listener) }()
	return s, nil
}

func (s *fakeSTS) close() { _ = s.server.Close() }

// count returns how often an action was asked for; "" means all of them.
func (s *fakeSTS) count(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if action != "" {
		return s.calls[action]
	}
	all := 0
	for _, n := range s.calls {
		all += n
	}
	return all
}

func (s *fakeSTS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	action, role := r.FormValue("Action"), r.FormValue("RoleArn")
	s.mu.Lock()
	s.calls[action]++
	s.mu.Unlock()
	time.Sleep(stsDelay)

	var result string
	switch action {
	case "AssumeRole":
		result = credentialsXML() + "<AssumedRoleUser><Arn>" + role + "/s</Arn><AssumedRoleId>AROAEXAMPLE:s</AssumedRoleId></AssumedRoleUser>"
	case "GetSessionToken":
		result = credentialsXML()
	case "GetCallerIdentity":
		result = "<Arn>arn:aws:iam::" + stsAccount + ":user/bench</Arn><UserId>AIDAEXAMPLE</UserId><Account>" + stsAccount + "</Account>"
	default:
		http.Error(w, "no such action", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result)
}

// credentialsXML makes credentials of the usual lengths that mean nothing.
func credentialsXML() string {
	return "<Credentials><AccessKeyId>" + madeUp(20) + "</AccessKeyId><SecretAccessKey>" + madeUp(40) +
		"</SecretAccessKey><SessionToken>" + madeUp(700) + "</SessionToken><Expiration>" +
		time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + "</Expiration></Credentials>"
}

func madeUp(length int) string {
	b := make([]byte, length/2)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}
