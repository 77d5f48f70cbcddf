package agent

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/distribution/reference"

	corev1 "k8s.io/api/core/v1"
)

// dockerConfig is the file that registry credentials come in.
type dockerConfig struct {
	Auths map[string]struct {
		Username string `json:"username"`
		Password string `json:"password"`
		Auth     string `json:"auth"` // base64 of username:password
	} `json:"auths"`
}

// credentials are what the pod's imagePullSecrets say for the image's registry, as Docker wants them; empty if nothing.
func (a *Agent) credentials(pod *corev1.Pod, image string) string {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "" // pulling it tells why
	}
	registry := reference.Domain(named)
	objects := a.objectsOf(pod.Namespace)
	for _, ref := range pod.Spec.ImagePullSecrets {
		secret := objects.Secrets[ref.Name]
		if secret == nil {
			continue
		}
		if auth := credentialsIn(secret, registry); auth != "" {
			return auth
		}
	}
	return ""
}

// credentialsIn finds a registry's credentials in a secret of type kubernetes.io/dockerconfigjson or dockercfg.
func credentialsIn(secret *corev1.Secret, registry string) string {
	var config dockerConfig
	if data, ok := secret.Data[corev1.DockerConfigJsonKey]; ok {
		if json.Unmarshal(data, &config) != nil {
			return ""
		}
	} else if json.Unmarshal(secret.Data[corev1.DockerConfigKey], &config.Auths) != nil {
		return ""
	}
	for server, auth := range config.Auths {
		host := strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
		host, _, _ = strings.Cut(host, "/")
		if !slices.Contains([]string{registry, "index." + registry}, host) {
			continue
		}
		if decoded, err := base64.StdEncoding.DecodeString(auth.Auth); err == nil && auth.Username == "" {
			auth.Username, auth.Password, _ = strings.Cut(string(decoded), ":")
		}
		encoded, err := json.Marshal(map[string]string{"username": auth.Username, "password": auth.Password, "serveraddress": server})
		if err != nil {
			return ""
		}
		return base64.URLEncoding.EncodeToString(encoded)
	}
	return ""
}
