package kubernetes_test

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const nackGroup = "jetstream.nats.io"

// stream, keyValue and account are NACK's resources of v1beta2 (NACK 0.21 and 0.22), as far as
// they are used here: NACK's own module cannot be had from every proxy. What is added
// to the manifests is added here by its name in NACK's deploy/crds.yml.
type stream struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Account         string   `json:"account"`
		Name            string   `json:"name"`
		Description     string   `json:"description"`
		Subjects        []string `json:"subjects"`
		Retention       string   `json:"retention"`
		MaxBytes        int64    `json:"maxBytes"`
		MaxAge          string   `json:"maxAge"`
		Storage         string   `json:"storage"`
		Discard         string   `json:"discard"`
		Replicas        int      `json:"replicas"`
		DuplicateWindow string   `json:"duplicateWindow"`
		AllowDirect     bool     `json:"allowDirect"`
		PreventDelete   bool     `json:"preventDelete"`
	} `json:"spec"`
}

type keyValue struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Account        string        `json:"account"`
		Bucket         string        `json:"bucket"`
		Description    string        `json:"description"`
		History        uint8         `json:"history"`
		Storage        string        `json:"storage"`
		Replicas       int           `json:"replicas"`
		LimitMarkerTTL time.Duration `json:"limitMarkerTtl"`
		PreventDelete  bool          `json:"preventDelete"`
	} `json:"spec"`
}

type account struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`

	Spec struct {
		Name    string   `json:"name"`
		Servers []string `json:"servers"`
		User    struct {
			Secret   secretRef `json:"secret"`
			User     string    `json:"user"` // keys of the secret, here and below
			Password string    `json:"password"`
		} `json:"user"`
		TLS struct {
			Secret secretRef `json:"secret"`
			CA     string    `json:"ca"`
		} `json:"tls"`
	} `json:"spec"`
}

type secretRef struct {
	Name string `json:"name"`
}
