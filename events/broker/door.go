package broker

import (
	"crypto/subtle"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// User is a TCP client. Empty lists of subjects mean all.
type User struct {
	Account, Name, Password string
	Publish, Subscribe      []string
}

// door lets clients in by name and password, each into its account, and those over TLS by what they have shown there. The server's own list of users would have it complain of plain passwords,
// which are never written down here.
type door struct {
	users  map[string]User
	guests *sync.Map // of name to User
	server *server.Server
}

func newDoor(users []User) (*door, error) {
	d := &door{users: map[string]User{}}
	for _, u := range users {
		if !slices.Contains(accountNames, u.Account) {
			return nil, fmt.Errorf("broker user %s is of account %q: there are only %v", u.Name, u.Account, accountNames)
		}
		d.users[u.Name] = u
	}
	return d, nil
}

// Check implements server.Authentication.
func (d *door) Check(client server.ClientAuthentication) bool {
	given := client.GetOpts()
	if client.GetTLSConnectionState() != nil {
		return d.admit(client, User{Account: given.Username, Name: given.Username}) // it has shown its certificate
	}
	user, ok := d.users[given.Username]
	if !ok {
		var guest any
		if guest, ok = d.guests.Load(given.Username); ok {
			user, ok = guest.(User)
		}
	}
	if !ok || subtle.ConstantTimeCompare([]byte(user.Password), []byte(given.Password)) != 1 {
		return false
	}
	return d.admit(client, user)
}

// admit lets a client into its account, if that is one of a broker's.
func (d *door) admit(client server.ClientAuthentication, user User) bool {
	if !slices.Contains(accountNames, user.Account) {
		return false
	}
	account, err := d.server.LookupAccount(user.Account)
	if err != nil {
		return false
	}
	client.RegisterUser(&server.User{Username: user.Name, Account: account, Permissions: permissions(user)})
	return true
}

func permissions(u User) *server.Permissions {
	p := &server.Permissions{}
	if len(u.Publish) > 0 {
		p.Publish = &server.SubjectPermission{Allow: u.Publish}
	}
	if len(u.Subscribe) > 0 {
		p.Subscribe = &server.SubjectPermission{Allow: u.Subscribe}
	}
	return p
}
