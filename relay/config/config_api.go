package config

import "time"

// API is APIXO's status API. The variables of key and address have the names that APIXO's
// own tools use.
type API struct {
	// Key is the account's key, and BaseURL an http or https URL without a path of the
	// API's own; it may have no slash at its end.
	Key     string `env:"APIXO_API_KEY" secret:"true" doc:"key of the APIXO account, for backfill, RELAY_EXPECT and RELAY_VERIFY: the status API tells how tasks ended"`
	BaseURL string `env:"APIXO_BASE_URL" envDefault:"https://api.apixo.ai" doc:"where the status API is"`
	// Rate is how many requests are begun in a second.
	Rate Rate `env:"RELAY_API_RATE" envDefault:"5000/m" doc:"how many requests to the status API are begun at most, all uses of this relay together, such as 5000/m or 50/s. APIXO allows an account 10,000 a minute: relays that share one share that too"`
}

// Expect is the register of announced tasks, in a key-value bucket of the broker.
type Expect struct {
	// Enabled: without it announcements are not taken, and nobody is asked.
	Enabled bool `env:"RELAY_EXPECT" envDefault:"false" doc:"look after tasks that producers announce: the status API is asked for those whose webhook does not come, and their results are stored as their webhooks would have been. Needs APIXO_API_KEY"`
	// Bucket is the name of the key-value bucket.
	Bucket string `env:"RELAY_EXPECT_BUCKET" envDefault:"APIXO_EXPECTED" doc:"name of the key-value bucket of announced tasks, which is made as RELAY_STREAM_POLICY has it"`
	// Path starts with a slash and ends without one.
	Path string `env:"RELAY_EXPECT_PATH" envDefault:"/expect" doc:"path at which tasks are announced by POST where webhooks arrive, with the same tokens, for producers without a NATS client"`
	// After is how long a webhook is waited for before its task is first asked for, and
	// GiveUp how long before the task is given up.
	After  time.Duration `env:"RELAY_EXPECT_AFTER" envDefault:"1m" doc:"how long after its announcement a task that has not come is first asked for, and again after 1.5 times as long each time, every 5 minutes at most"`
	GiveUp time.Duration `env:"RELAY_EXPECT_GIVE_UP" envDefault:"24h" doc:"how long after its announcement a task without a result is given up, and told as missing. APIXO's result URLs expire after 24 hours"`
}

// Verify holds webhooks against the status API, since APIXO signs nothing.
type Verify struct {
	// Mode says what is done with the answer.
	Mode VerifyMode `env:"RELAY_VERIFY" envDefault:"off" doc:"flag: ask the status API about each webhook, and say in the event's attribute verified whether it tells the same; enforce: take only what it tells too. Needs APIXO_API_KEY, and the model in the callback URL (?model=...)"`
	// Timeout bounds one answer.
	Timeout time.Duration `env:"RELAY_VERIFY_TIMEOUT" envDefault:"5s" doc:"how long a webhook waits for the status API's answer, inside RELAY_PUBLISH_TIMEOUT"`
}
