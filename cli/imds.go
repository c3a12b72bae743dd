package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/creds"
	"github.com/ecs-local/ecs-local/local/imdsclient"
	"github.com/ecs-local/ecs-local/local/scan"
)

// imdsCommand is "ecs-local imds".
type imdsCommand struct {
	Get  imdsGetCommand  `cmd:"" help:"Print one value."`
	Ls   imdsLsCommand   `cmd:"" help:"List what is below a path."`
	Dump imdsDumpCommand `cmd:"" help:"Print everything as a configuration that \"serve --config\" replays."`
	Cert imdsCertCommand `cmd:"" help:"Print the certificates that verify the identity document of ecs-local's own instance."`
}

// imdsFlags say which instance metadata service is read, and how. Without
// them it is found as the AWS SDKs find it.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html
type imdsFlags struct {
	Endpoint string        `xor:"where" placeholder:"URL" help:"Instance metadata service (AWS_EC2_METADATA_SERVICE_ENDPOINT, or that of the instance)."`
	IPv6     bool          `name:"ipv6" xor:"where" help:"Use the IPv6 address of the instance's service (AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE)."`
	Timeout  time.Duration `default:"5s" help:"How long one value may take, token and retries included (${default})."`
	AllowV1  bool          `name:"allow-v1" help:"Go on without a token (IMDSv1) where none can be had."`
}

// client makes the client.
func (f imdsFlags) client(ctx context.Context, env environment) (*imdsclient.Client, error) {
	log := slog.New(slog.NewTextHandler(env.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	options := imdsclient.Options{
		Endpoint: f.Endpoint,
		Timeout:  f.Timeout,
		AllowV1:  f.AllowV1,
		CacheDir: tokenDir(),
		Log:      log,
	}
	profile, err := creds.ProfileMetadata(ctx, cmp.Or(os.Getenv("AWS_PROFILE"), os.Getenv("AWS_DEFAULT_PROFILE")),
		os.Getenv("AWS_CONFIG_FILE"), os.Getenv("AWS_SHARED_CREDENTIALS_FILE"))
	if err != nil {
		log.Warn("AWS files not read: what they say of instance metadata does not count", "reason", local.MessageOf(err))
	}
	from := "--endpoint"
	switch {
	case f.Timeout <= 0:
		return nil, misuse{fmt.Errorf("--timeout %v: give a time above 0", f.Timeout)}
	case f.AllowV1 && isTrue("AWS_EC2_METADATA_V1_DISABLED"):
		return nil, misuse{fmt.Errorf("--allow-v1 contradicts AWS_EC2_METADATA_V1_DISABLED=true: leave one of them out")}
	case f.AllowV1 && profile.V1Disabled && os.Getenv("AWS_EC2_METADATA_V1_DISABLED") == "":
		return nil, misuse{fmt.Errorf("--allow-v1 contradicts ec2_metadata_v1_disabled in your AWS config file: leave one of them out, or set AWS_EC2_METADATA_V1_DISABLED=false")}
	case f.Endpoint != "":
	case f.IPv6:
		options.Mode = "IPv6"
		options.Disabled = isTrue("AWS_EC2_METADATA_DISABLED")
	default:
		options.Endpoint, from = profile.Endpoint, "ec2_metadata_service_endpoint in your AWS config file"
		if endpoint := os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"); endpoint != "" {
			options.Endpoint, from = endpoint, "AWS_EC2_METADATA_SERVICE_ENDPOINT"
		}
		options.Mode = cmp.Or(os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"), profile.Mode)
		options.Disabled = isTrue("AWS_EC2_METADATA_DISABLED")
	}
	if err := perAttempt(&options); err != nil {
		return nil, misuse{err}
	}
	client, err := imdsclient.New(options)
	switch {
	case err != nil && options.Endpoint != "":
		return nil, misuse{fmt.Errorf("%s: %w", from, err)}
	case err != nil:
		return nil, misuse{err}
	}
	return client, nil
}

// perAttempt reads the variables of botocore and the SDK for PHP.
func perAttempt(options *imdsclient.Options) error {
	const timeout, attempts = "AWS_METADATA_SERVICE_TIMEOUT", "AWS_METADATA_SERVICE_NUM_ATTEMPTS"
	if v := os.Getenv(timeout); v != "" {
		seconds, err := strconv.ParseFloat(v, 64)
		options.AttemptTimeout = time.Duration(seconds * float64(time.Second))
		if err != nil || options.AttemptTimeout < time.Millisecond || seconds > 3600 {
			return fmt.Errorf("%s=%q: give the seconds that one attempt may take, such as 1", timeout, v)
		}
	}
	if v := os.Getenv(attempts); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return fmt.Errorf("%s=%q: give the number of attempts, 1 or more", attempts, v)
		}
		options.Attempts = n
	}
	return nil
}

// isTrue reads a variable as the SDKs do.
func isTrue(variable string) bool { return strings.EqualFold(os.Getenv(variable), "true") }

// tokenDir is where processes of this user share the token; "" when there is
// no place for it.
func tokenDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "ecs-local")
}

// imdsGetCommand is "ecs-local imds get".
type imdsGetCommand struct {
	imdsFlags
	Argument string `arg:"" optional:"" name:"path" help:"Such as instance-id, placement/region, dynamic/instance-identity/document, user-data."`
	Path     string `placeholder:"PATH" help:"The path, in place of the argument."`
}

// Run writes the value as it is.
func (c imdsGetCommand) Run(ctx context.Context, env environment) error {
	if (c.Argument == "") == (c.Path == "") {
		return misuse{fmt.Errorf("give one path, such as \"ecs-local imds get instance-id\"")}
	}
	client, err := c.client(ctx, env)
	if err != nil {
		return err
	}
	value, err := client.Get(ctx, cmp.Or(c.Argument, c.Path))
	if err != nil {
		return said(err)
	}
	_, err = env.stdout.Write(value)
	return err
}

// imdsLsCommand is "ecs-local imds ls".
type imdsLsCommand struct {
	imdsFlags
	Argument string `arg:"" optional:"" name:"path" help:"Such as placement, or / for the versions (meta-data)."`
	Path     string `placeholder:"PATH" help:"The path, in place of the argument."`
}

// Run prints the names, one a line.
func (c imdsLsCommand) Run(ctx context.Context, env environment) error {
	if c.Argument != "" && c.Path != "" {
		return misuse{fmt.Errorf("give one path, such as \"ecs-local imds ls placement\"")}
	}
	client, err := c.client(ctx, env)
	if err != nil {
		return err
	}
	path := cmp.Or(c.Argument, c.Path)
	if path != "" && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	names, err := client.List(ctx, path)
	if err != nil {
		return said(err)
	}
	if value, err := client.IsValue(ctx, path); err != nil {
		return said(err)
	} else if value {
		path = strings.TrimSuffix(path, "/")
		return fmt.Errorf("%s is a value, nothing is below it: print it with `ecs-local imds get %[1]s`", path)
	}
	for _, name := range names {
		if _, err := fmt.Fprintln(env.stdout, scan.Printable(name)); err != nil {
			return err
		}
	}
	return nil
}
