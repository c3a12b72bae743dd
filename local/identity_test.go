package local_test

import (
	"regexp"
	"testing"

	"github.com/ecs-local/ecs-local/local"
)

func TestIdentity(t *testing.T) {
	t.Parallel()
	session := func(arn string) local.Identity {
		i, err := local.RoleSession(arn, "web-1")
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	for name, test := range map[string]struct {
		identity local.Identity
		arn      string
		userID   string // a pattern
		account  string
	}{
		"a role": {identity: session("arn:aws:iam::111122223333:role/app"), account: "111122223333",
			arn: "arn:aws:sts::111122223333:assumed-role/app/web-1", userID: `^AROA[A-Z2-7]{17}:web-1$`},
		"a role with a path": {identity: session("arn:aws:iam::111122223333:role/team/a/app"), account: "111122223333",
			arn: "arn:aws:sts::111122223333:assumed-role/app/web-1", userID: `^AROA[A-Z2-7]{17}:web-1$`},
		"a role in China": {identity: session("arn:aws-cn:iam::999999999999:role/app"), account: "999999999999",
			arn: "arn:aws-cn:sts::999999999999:assumed-role/app/web-1", userID: `^AROA[A-Z2-7]{17}:web-1$`},
		"a user": {identity: local.Identity{Partition: "aws-us-gov", Account: "111122223333", Name: "dev"}, account: "111122223333",
			arn: "arn:aws-us-gov:iam::111122223333:user/dev", userID: `^AIDA[A-Z2-7]{17}$`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.identity.ARN(); got != test.arn {
				t.Errorf("ARN %s, want %s", got, test.arn)
			}
			if got := test.identity.UserID(); !regexp.MustCompile(test.userID).MatchString(got) {
				t.Errorf("user id %s, want %s", got, test.userID)
			}
			if test.identity.Account != test.account {
				t.Errorf("account %s, want %s", test.identity.Account, test.account)
			}
		})
	}
	a, b := session("arn:aws:iam::111122223333:role/x/app"), session("arn:aws:iam::111122223333:role/y/app")
	if a.UserID() == b.UserID() || a.UserID() != session(a.RoleARN).UserID() {
		t.Error("the id of a role does not stand for its ARN")
	}
	if _, err := local.RoleSession("arn:aws:iam::111122223333:user/app", "x"); local.CodeOf(err) != local.Invalid {
		t.Errorf("a user's ARN: %v", err)
	}
}
