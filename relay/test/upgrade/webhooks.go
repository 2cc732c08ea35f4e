package upgrade

import (
	"fmt"
	"strings"

	"github.com/apixo-relay/apixo-relay/relay/test/rig"
)

const (
	jsonType = "application/json"
	// smallTasks come at once, so that they share batches or fsyncs.
	smallTasks = 24
)

func smallTask(i int) string { return fmt.Sprintf("small_%d", i) }

// taskBody is the webhook of a task that has succeeded.
func taskBody(id string) []byte { return []byte(rig.Webhook(id, "success", 0)) }

// tasks are webhooks of tasks that differ in what an event has of them. The names of the
// tasks begin with the prefix.
func tasks(prefix string) []Webhook {
	body := func(name, rest string) []byte {
		return fmt.Appendf(nil, `{"code":200,"message":"success","data":{"taskId":"%s%s",%s}}`, prefix, name, rest)
	}
	return []Webhook{
		{Body: []byte(rig.Webhook(prefix+"failed", "failed", 0)), ContentType: jsonType},
		{Body: []byte(rig.Webhook(prefix+"large", "success", 4096)), ContentType: jsonType},
		{Body: []byte(rig.Webhook(prefix+"attributes", "success", 0)), ContentType: jsonType, Query: "model=nano-banana"},
		{Body: []byte(rig.Webhook(prefix+"traced", "success", 0)), ContentType: jsonType, Query: "traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		{Body: []byte(rig.Webhook(prefix+"untyped", "success", 0))},
		{Body: body("times", `"state":"success","resultJson":"{\"resultUrls\":[\"https://cdn.apixo.ai/1.jpg\",\"https://cdn.apixo.ai/2.jpg\"]}","costTime":12500,"createTime":1704067200000,"completeTime":1704067212500`), ContentType: jsonType},
		{Body: body("unknown", `"state":"success","resultJson":"","new":{"number":12345678901234567890.5e-3,"list":[1,null,{"a":"\u00fc\ud83d\ude80 ü🚀"}]}`), ContentType: jsonType},
		{Body: body("id.with:all_of-them", `"state":"failed","failCode":"TIMEOUT","failMsg":"a \"quoted\" % sign\n"`), ContentType: jsonType + "; charset=utf-8"},
	}
}

// contradiction tells another outcome of the first of tasks.
func contradiction(prefix string) Webhook {
	return Webhook{Body: []byte(rig.Webhook(prefix+"failed", "success", 0)), ContentType: jsonType}
}

// refused are webhooks that become no events. The prefix makes their bodies others.
func refused(prefix string) []Webhook {
	return []Webhook{
		{Body: []byte(prefix + " is not JSON \xff"), ContentType: jsonType},
		{Body: fmt.Appendf(nil, `{"code":200,"data":{"taskId":"%spending","state":"pending"}}`, prefix), ContentType: jsonType},
		{Body: []byte(rig.Webhook(prefix+"text", "success", 0)), ContentType: "text/plain"},
	}
}

// withFiles is the webhook of a task whose files are at an origin.
func withFiles(task, origin string, files map[string][]byte) Webhook {
	var urls []string
	for name := range files {
		urls = append(urls, fmt.Sprintf(`\"%s/%s\"`, origin, name))
	}
	return Webhook{
		Body:        fmt.Appendf(nil, `{"code":200,"message":"success","data":{"taskId":%q,"state":"success","resultJson":"{\"resultUrls\":[%s]}"}}`, task, strings.Join(urls, ",")),
		ContentType: jsonType,
	}
}
