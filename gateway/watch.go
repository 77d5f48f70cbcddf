package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"

	"github.com/wakehq/wake/events"
)

const (
	// bookmarkEvery is how often a watch that allows it is told how far it is, as in Kubernetes.
	bookmarkEvery = time.Minute
	// maxWatch ends watches of clients that set no timeout, so that connections spread again.
	maxWatch = time.Hour
)

// watch streams what happens to the selected objects of a collection.
func (g *Gateway) watch(r *request) error {
	s, err := newSelector(r.kind, r.namespace, r.name, r.query)
	if err != nil {
		return err
	}
	w := &watcher{gateway: g, request: r, selector: s, bookmarks: isTrue(r.query, "allowWatchBookmarks")}
	timeout := maxWatch
	if seconds, err := strconv.Atoi(r.query.Get("timeoutSeconds")); err == nil && seconds > 0 {
		timeout = time.Duration(seconds) * time.Second
	}
	ctx, cancel := context.WithTimeout(r.Request().Context(), timeout)
	defer cancel()
	go func() {
		select {
		case <-g.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	initial, err := w.open()
	if err != nil {
		return err
	}
	return w.run(ctx, initial)
}

// watcher is one watch in progress.
type watcher struct {
	gateway   *Gateway
	request   *request
	selector  *selector
	bookmarks bool
	cursor    *events.Cursor // nil in the past, where nothing happens any more
	columns   bool           // the table's columns have been sent
	at        events.Revision
}

// open finds where the watch begins. The state that it returns, if any, is to be sent first.
func (w *watcher) open() (*events.State, error) {
	q := w.request.query
	view := w.gateway.config.View
	revision, err := parseResourceVersion(q.Get("resourceVersion"))
	if err != nil {
		return nil, err
	}
	sendInitial := q.Get("sendInitialEvents")
	switch {
	case sendInitial != "" && metav1.ResourceVersionMatch(q.Get("resourceVersionMatch")) != metav1.ResourceVersionMatchNotOlderThan:
		return nil, apierrors.NewBadRequest("resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
	case momentText(w.request.Request()) != "":
		return w.openPast(revision, sendInitial)
	case sendInitial == "true", sendInitial == "" && revision == 0:
		if _, err := w.gateway.reach(w.request.Request().Context(), revision); err != nil {
			return nil, err
		}
		state, cursor := view.Subscribe()
		w.cursor, w.at = cursor, state.Revision()
		return state, nil
	case revision == 0:
		w.cursor, err = view.Watch(0)
		return nil, err
	}
	w.cursor, err = view.Watch(revision)
	w.at = revision
	if errors.Is(err, events.ErrTooOld) {
		return nil, apierrors.NewResourceExpired("The resourceVersion for the provided watch is too old: " + err.Error())
	}
	return nil, err
}

// openPast begins a watch of a moment: what there was is sent, and then nothing happens until the client leaves or its time is up, as in a cluster in
// which nothing moves.
func (w *watcher) openPast(revision events.Revision, sendInitial string) (*events.State, error) {
	point, _, err := w.gateway.point(w.request)
	if err != nil {
		return nil, err
	}
	if sendInitial == "true" || sendInitial == "" && revision == 0 {
		w.at = point.Revision
		return w.gateway.past.StateAt(w.request.Request().Context(), point.Revision)
	}
	if w.at = revision; revision == 0 {
		w.at = point.Revision
	}
	return nil, nil
}

// next waits for changes.
func (w *watcher) next(ctx context.Context) ([]events.Change, *events.State, error) {
	if w.cursor == nil {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	return w.cursor.Next(ctx)
}

func (w *watcher) run(ctx context.Context, initial *events.State) error {
	response := w.request.Response()
	response.Header().Set("Content-Type", w.request.format.contentType())
	response.Header().Set("Cache-Control", "no-cache, private")
	response.WriteHeader(http.StatusOK)
	response.Flush()
	if initial != nil {
		if err := w.begin(initial); err != nil {
			return err
		}
	}
	nextBookmark := time.Now().Add(bookmarkEvery)
	for {
		waiting, cancel := context.WithDeadline(ctx, nextBookmark)
		changes, state, err := w.next(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			nextBookmark = time.Now().Add(bookmarkEvery)
			err = w.bookmark(nil)
		case errors.Is(err, events.ErrTooOld):
			return w.expire(err)
		case err == nil:
			err = w.send(changes, state)
		}
		if err != nil {
			return err
		}
	}
}

// begin sends the objects that exist, and after them the bookmark that says so to those who asked for it.
func (w *watcher) begin(state *events.State) error {
	for o := range w.selector.candidates(state, position{}) {
		if w.selector.matches(o) {
			if err := w.emit(apiwatch.Added, o, o.Revision()); err != nil {
				return err
			}
		}
	}
	if w.bookmarks && w.request.query.Get("sendInitialEvents") == "true" {
		return w.bookmark(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	w.request.Response().Flush()
	return nil
}

// send tells of the changes that concern the selected objects. One that begins or ceases to match is added or deleted, for the client.
func (w *watcher) send(changes []events.Change, state *events.State) error {
	sent := false
	gr := w.selector.groupResource()
	for i := range changes {
		c := &changes[i]
		if c.Ref().GroupResource() != gr {
			continue
		}
		before, after := w.selector.matches(c.Old), w.selector.matches(c.New)
		var err error
		switch {
		case before && after:
			err = w.emit(apiwatch.Modified, c.New, c.Revision)
		case after:
			err = w.emit(apiwatch.Added, c.New, c.Revision)
		case before:
			err = w.emit(apiwatch.Deleted, c.Old, c.Revision)
		default:
			continue
		}
		if sent = true; err != nil {
			return err
		}
	}
	w.at = state.Revision()
	if sent {
		w.request.Response().Flush()
	}
	return nil
}

// emit sends an event about o as of revision, which is newer than o's own when o is gone.
func (w *watcher) emit(eventType apiwatch.EventType, o *events.Object, revision events.Revision) error {
	content, err := w.gateway.encodeAt(w.request, o, revision, !w.columns)
	if err != nil {
		return err
	}
	w.columns = true
	return w.frame(eventType, content)
}

func (w *watcher) frame(eventType apiwatch.EventType, content []byte) error {
	frame, err := encodeFrame(string(eventType), content, w.request.format)
	if err != nil {
		return err
	}
	_, err = w.request.Response().Write(frame)
	return err
}

// bookmark tells the client how far it is: up to there it has seen all.
func (w *watcher) bookmark(annotations map[string]string) error {
	if !w.bookmarks || w.at == 0 {
		return nil
	}
	obj := w.request.kind.New()
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	m.SetResourceVersion(strconv.FormatUint(w.at, 10))
	m.SetAnnotations(annotations)
	content, err := w.gateway.encodeShaped(w.request, obj, !w.columns)
	if err != nil {
		return err
	}
	w.columns = true
	if err := w.frame(apiwatch.Bookmark, content); err != nil {
		return err
	}
	w.request.Response().Flush()
	return nil
}

// expire tells a client that was too slow, or whose past is gone, to list again.
func (w *watcher) expire(cause error) error {
	status := statusOf(apierrors.NewResourceExpired("too old resource version: " + cause.Error()))
	content, err := w.gateway.encode(&status, w.request.format)
	if err != nil {
		return err
	}
	if err := w.frame(apiwatch.Error, content); err != nil {
		return err
	}
	w.request.Response().Flush()
	return nil
}
