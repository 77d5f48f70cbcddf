package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wakehq/wake/events/nodewire"
)

// defaultContainerAnnotation names the container that is meant when a request names none.
const defaultContainerAnnotation = "kubectl.kubernetes.io/default-container"

// log streams a container's log from the node that it runs on.
func (g *Gateway) log(r *request) error {
	options, err := parseLogOptions(r)
	if err != nil {
		return err
	}
	if err := checkLogOptions(options); err != nil {
		return err
	}
	o, err := g.present(r)
	if err != nil {
		return err
	}
	pod, ok := o.Typed().(*corev1.Pod)
	if !ok {
		return errNoSuchPath()
	}
	if err := chooseContainer(pod, options); err != nil {
		return err
	}
	if err := checkStarted(pod, options); err != nil {
		return err
	}
	if g.config.Logs == nil {
		return errNotImplemented("logs are not available: this gateway has no line to the nodes")
	}
	stream, err := g.config.Logs.Logs(r.Request().Context(), pod.Spec.NodeName,
		nodewire.LogRequest{Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Options: *options})
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("asking node %s for the log of container %q: %w", pod.Spec.NodeName, options.Container, err))
	}
	defer func() { _ = stream.Close() }()
	r.Response().Header().Set("Content-Type", "text/plain")
	r.Response().WriteHeader(http.StatusOK)
	return r.copyFlushing(stream)
}

// copyFlushing passes a stream on as it comes.
func (r *request) copyFlushing(from io.Reader) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := r.Response().Write(buffer[:n]); err != nil {
				return err
			}
			r.Response().Flush()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func parseLogOptions(r *request) (*corev1.PodLogOptions, error) {
	q := r.query
	o := &corev1.PodLogOptions{Container: q.Get("container"), Follow: isTrue(q, "follow"), Previous: isTrue(q, "previous"), Timestamps: isTrue(q, "timestamps")}
	for name, into := range map[string]**int64{"tailLines": &o.TailLines, "sinceSeconds": &o.SinceSeconds, "limitBytes": &o.LimitBytes} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("%s: %q is no number", name, text))
		}
		*into = &number
	}
	if text := q.Get("sinceTime"); text != "" {
		since, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("sinceTime: %q is no time in the form of RFC 3339", text))
		}
		o.SinceTime = &metav1.Time{Time: since}
	}
	return o, nil
}

func checkLogOptions(o *corev1.PodLogOptions) error {
	reason := ""
	switch {
	case o.TailLines != nil && *o.TailLines < 0:
		reason = "tailLines: Invalid value: must be greater than or equal to 0"
	case o.LimitBytes != nil && *o.LimitBytes < 1:
		reason = "limitBytes: Invalid value: must be greater than 0"
	case o.SinceSeconds != nil && o.SinceTime != nil:
		reason = "at most one of `sinceTime` or `sinceSeconds` may be specified"
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		reason = "sinceSeconds: Invalid value: must be greater than 0"
	default:
		return nil
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity,
		Reason: metav1.StatusReasonInvalid, Message: "PodLogOptions \"\" is invalid: " + reason}}
}

// chooseContainer fills in the container that is meant when none is named, and refuses one that the pod doesn't have.
func chooseContainer(pod *corev1.Pod, o *corev1.PodLogOptions) error {
	regular := containerNames(pod.Spec.Containers)
	initial := containerNames(pod.Spec.InitContainers)
	all := slices.Concat(regular, initial)
	for _, c := range pod.Spec.EphemeralContainers {
		all = append(all, c.Name)
	}
	if o.Container == "" {
		if named := pod.Annotations[defaultContainerAnnotation]; slices.Contains(all, named) {
			o.Container = named
		} else if len(regular) == 1 {
			o.Container = regular[0]
		}
	}
	switch {
	case o.Container == "" && len(initial) > 0:
		return apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s] or one of the init containers: [%s]",
			pod.Name, strings.Join(regular, " "), strings.Join(initial, " ")))
	case o.Container == "":
		return apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", pod.Name, strings.Join(regular, " ")))
	case !slices.Contains(all, o.Container):
		return apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s, choose one of: [%s]", o.Container, pod.Name, strings.Join(all, " ")))
	}
	return nil
}

func containerNames(containers []corev1.Container) []string {
	names := make([]string, len(containers))
	for i := range containers {
		names[i] = containers[i].Name
	}
	return names
}

// checkStarted refuses the log of a container that has none yet, and says what it waits for.
func checkStarted(pod *corev1.Pod, o *corev1.PodLogOptions) error {
	if pod.Spec.NodeName == "" {
		return apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", pod.Name))
	}
	for _, status := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		if status.Name != o.Container {
			continue
		}
		switch {
		case o.Previous && status.LastTerminationState.Terminated == nil:
			return apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", o.Container, pod.Name))
		case o.Previous, status.State.Waiting == nil, status.LastTerminationState.Terminated != nil:
			return nil
		case status.State.Waiting.Reason == "ErrImagePull" || status.State.Waiting.Reason == "ImagePullBackOff":
			return apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: trying and failing to pull image", o.Container, pod.Name))
		}
		return apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", o.Container, pod.Name, status.State.Waiting.Reason))
	}
	return apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: ContainerCreating", o.Container, pod.Name))
}
