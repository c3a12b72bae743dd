package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// account is whose STS it plays.
const account = "111122223333"

var signedBy = regexp.MustCompile(`Credential=([^/]+)/`)

// playSTS plays the three STS actions that ecs-local uses. The access key id of
// an answer tells who asked: it ends in that of the request's signature.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_Operations.html
func playSTS(ctx context.Context, args []string) int {
	addr := ":4566"
	if len(args) > 0 {
		addr = args[0]
	}
	server := &http.Server{Addr: addr, Handler: http.HandlerFunc(answerSTS), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return complain("sts: %v", err)
	}
	return 0
}

func answerSTS(w http.ResponseWriter, r *http.Request) {
	by := "unsigned"
	if m := signedBy.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		by = m[1]
	}
	credentials := fmt.Sprintf(`<Credentials><AccessKeyId>ASIA%s</AccessKeyId><SecretAccessKey>not-a-secret</SecretAccessKey>`+
		`<SessionToken>not-a-token</SessionToken><Expiration>%s</Expiration></Credentials>`,
		escape(strings.TrimPrefix(by, "AKIA")), time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	action, result := r.PostFormValue("Action"), ""
	switch action {
	case "GetSessionToken":
		result = credentials
	case "AssumeRole":
		role := r.PostFormValue("RoleArn")
		name := role[strings.LastIndexByte(role, '/')+1:]
		result = credentials + fmt.Sprintf(`<AssumedRoleUser><Arn>arn:aws:sts::%s:assumed-role/%s/%s</Arn><AssumedRoleId>AROAEXAMPLE:%s</AssumedRoleId></AssumedRoleUser>`,
			account, escape(name), escape(r.PostFormValue("RoleSessionName")), escape(r.PostFormValue("RoleSessionName")))
	case "GetCallerIdentity":
		result = fmt.Sprintf(`<Arn>arn:aws:iam::%s:user/developer</Arn><UserId>AIDAEXAMPLE</UserId><Account>%s</Account>`, account, account)
	default:
		http.Error(w, "unknown action "+action, http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult>%[2]s</%[1]sResult>`+
		`<ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata></%[1]sResponse>`, action, result)
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
