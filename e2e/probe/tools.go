package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// shell runs a POSIX shell script, as sh -c does.
func shell(ctx context.Context, args []string) int {
	if len(args) < 2 || args[0] != "-c" {
		return complain("usage: sh -c SCRIPT")
	}
	script, err := syntax.NewParser(syntax.Variant(syntax.LangPOSIX)).Parse(strings.NewReader(args[1]), "sh")
	if err != nil {
		return complain("parse script: %v", err)
	}
	runner, err := interp.New(interp.StdIO(os.Stdin, os.Stdout, os.Stderr))
	if err != nil {
		return complain("make shell: %v", err)
	}
	var status interp.ExitStatus
	if err := runner.Run(ctx, script); errors.As(err, &status) {
		return int(status)
	} else if err != nil {
		return complain("run script: %v", err)
	}
	return 0
}

// awsCLI is one command of the AWS CLI, with an endpoint or without:
// aws sts get-caller-identity --query Arn --output text.
func awsCLI(ctx context.Context, args []string) int {
	const known = "sts get-caller-identity --query Arn --output text"
	line := strings.Join(args, " ")
	line, endpoint, _ := strings.Cut(line, " --endpoint-url ")
	if line != known {
		return complain("usage: aws %s [--endpoint-url URL]", known)
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return complain("load configuration: %v", err)
	}
	arn, _, err := caller(ctx, cfg, endpoint)
	if err != nil {
		return complain("%v", err)
	}
	fmt.Println(arn)
	return 0
}

// curl knows the options that the examples use, long ones only. Like curl it
// refuses any other with exit code 2, fails with 22 on an HTTP error under
// --fail, and with 7 without a connection.
// https://curl.se/docs/manpage.html
func curl(ctx context.Context, args []string) int {
	var urls []string
	var fail, retryRefused bool
	retries := 0
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--fail":
			fail = true
		case arg == "--silent", arg == "--show-error":
		case arg == "--retry-connrefused":
			retryRefused = true
		case arg == "--retry" && i+1 < len(args):
			i++
			n, err := strconv.Atoi(args[i])
			if err != nil {
				return complain("curl: --retry %s: expected a number", args[i])
			}
			retries = n
		case strings.HasPrefix(arg, "-"):
			return complain("curl: option %s: is unknown", arg)
		default:
			urls = append(urls, arg)
		}
	}
	code := 0
	for _, url := range urls {
		a := fetch(ctx, http.MethodGet, url, nil)
		for try := 0; a.Error != "" && retryRefused && try < retries && ctx.Err() == nil; try++ {
			time.Sleep(time.Second)
			a = fetch(ctx, http.MethodGet, url, nil)
		}
		switch {
		case a.Error != "":
			fmt.Fprintf(os.Stderr, "curl: (7) %s\n", a.Error)
			code = 7
		case fail && a.Status >= 400:
			fmt.Fprintf(os.Stderr, "curl: (22) The requested URL returned error: %d\n", a.Status)
			code = 22
		default:
			fmt.Print(a.Body)
		}
	}
	return code
}

// grep is grep -o PATTERN: of its input it prints what matches, line by line.
func grep(_ context.Context, args []string) int {
	if len(args) != 2 || args[0] != "-o" {
		return complain("usage: grep -o PATTERN")
	}
	pattern, err := regexp.CompilePOSIX(args[1])
	if err != nil {
		return complain("grep: %v", err)
	}
	code := 1
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		for _, match := range pattern.FindAllString(lines.Text(), -1) {
			fmt.Println(match)
			code = 0
		}
	}
	return code
}

// sleep takes seconds, or the word infinity.
func sleep(ctx context.Context, args []string) int {
	if len(args) == 1 && args[0] == "infinity" {
		<-ctx.Done()
		return 0
	}
	seconds, err := strconv.Atoi(strings.Join(args, ""))
	if err != nil {
		return complain("sleep: %v", err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(seconds) * time.Second):
	}
	return 0
}
