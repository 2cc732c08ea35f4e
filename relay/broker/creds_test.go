package broker

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/apixo-relay/apixo-relay/relay/test/natstest"
)

// keys makes a key pair and its public half.
func keys(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pair, public
}

// NATS_CREDS against a server in operator mode, as managed NATS services run it.
func TestExternalBrokerCredentialsFile(t *testing.T) {
	t.Parallel()
	operator, operatorID := keys(t, nkeys.CreateOperator)
	account, accountID := keys(t, nkeys.CreateAccount)
	user, userID := keys(t, nkeys.CreateUser)

	_, systemID := keys(t, nkeys.CreateAccount)
	operatorClaims := jwt.NewOperatorClaims(operatorID)
	systemJWT, err := jwt.NewAccountClaims(systemID).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	accountClaims := jwt.NewAccountClaims(accountID)
	accountClaims.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	accountJWT, err := accountClaims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	userJWT, err := jwt.NewUserClaims(userID).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(userJWT, seed)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(file, creds, 0o600); err != nil {
		t.Fatal(err)
	}

	resolver := &server.MemAccResolver{}
	for id, token := range map[string]string{accountID: accountJWT, systemID: systemJWT} {
		if err := resolver.Store(id, token); err != nil {
			t.Fatal(err)
		}
	}
	options := natstest.Options(t)
	options.TrustedOperators = []*jwt.OperatorClaims{operatorClaims}
	options.AccountResolver = resolver
	options.SystemAccount = systemID // JetStream needs one in this mode
	s := natstest.Start(t, options)

	b := mustOpen(t, load(t, "NATS_URL="+s.ClientURL(), "NATS_CREDS="+file))
	if !b.Conn().IsConnected() {
		t.Error("not connected")
	}
	_, err = Open(t.Context(), load(t, "NATS_URL="+s.ClientURL()), "test", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "NATS_CREDS") {
		t.Errorf("without credentials: %v", err)
	}
}
