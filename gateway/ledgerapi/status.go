package ledgerapi

import (
	"cmp"
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/wakehq/wake/events/archive"
	"github.com/wakehq/wake/events/trust"
)

// Status tells how the ledger is doing.
type Status struct {
	Revision      uint64     `json:"revision"`
	Failing       string     `json:"failing,omitempty"` // why the ledger can't be written or followed right now
	Notes         string     `json:"notes,omitempty"`   // why the notes from before the last start aren't shown, if they could not be read
	SetAsideCount int        `json:"setAsideCount"`
	SetAside      []SetAside `json:"setAside,omitempty"` // the newest
	Hash          string     `json:"hash,omitempty"`     // of the state at Revision, if asked for with ?hash=1

	Witness *trust.Status  `json:"witness,omitempty"`
	Archive *ArchiveStatus `json:"archive,omitempty"`
}

// Archive tells how an archive is doing.
type Archive interface {
	Status(ctx context.Context) (archive.Status, error)
}

// ArchiveStatus is what an archive holds.
type ArchiveStatus struct {
	Where         string  `json:"where"`
	Segments      int     `json:"segments"`
	First         uint64  `json:"first"`
	Last          uint64  `json:"last"`
	Bytes         int64   `json:"bytes"`
	BytesPerEvent float64 `json:"bytesPerEvent"`
	Snapshot      uint64  `json:"snapshot"`          // the newest
	Trimmed       uint64  `json:"trimmed"`           // up to here events are in the archive alone
	Failing       string  `json:"failing,omitempty"` // why it can't be kept right now
}

// SetAside is an event that this wake could not understand.
type SetAside struct {
	Revision uint64 `json:"revision"`
	Subject  string `json:"subject"`
	Reason   string `json:"reason"`
}

// status answers with how the ledger is doing, as one JSON value.
func (a *API) status(c echo.Context) error {
	v := a.View.Status()
	s := Status{Revision: v.Revision, SetAsideCount: v.SetAsideCount}
	if v.Following != nil {
		s.Failing = v.Following.Error()
	}
	if v.Notes != nil {
		s.Notes = v.Notes.Error()
	}
	if a.Health != nil {
		if err := a.Health(); err != nil {
			s.Failing = err.Error()
		}
	}
	for _, aside := range v.SetAside {
		s.SetAside = append(s.SetAside, SetAside(aside))
	}
	if c.QueryParam("hash") != "" {
		state := a.View.State()
		s.Revision, s.Hash = state.Revision(), state.Hash()
	}
	if a.Witness != nil {
		seen := a.Witness.Status()
		s.Witness = &seen
	}
	if a.Archive != nil {
		s.Archive = a.archiveStatus(c.Request().Context())
	}
	return c.JSON(http.StatusOK, s)
}

func (a *API) archiveStatus(ctx context.Context) *ArchiveStatus {
	has, err := a.Archive.Status(ctx)
	s := &ArchiveStatus{Where: has.Where, Segments: has.Segments, First: has.First, Last: has.Last, Bytes: has.Bytes, BytesPerEvent: has.BytesPerEvent,
		Snapshot: has.Snapshot, Trimmed: has.Trimmed}
	if err = cmp.Or(err, has.Failed); err != nil {
		s.Failing = err.Error()
	}
	return s
}
