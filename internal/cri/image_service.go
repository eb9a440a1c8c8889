// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"

	"eastwest/internal/cri/images"
)

// ListImages lists images, or the one that the filter names.
func (s *Server) ListImages(_ context.Context, req *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	all, err := s.listImages(req.GetFilter())
	return &runtimeapi.ListImagesResponse{Images: all}, err
}

// StreamImages sends what ListImages answers in pieces.
func (s *Server) StreamImages(req *runtimeapi.StreamImagesRequest, stream runtimeapi.ImageService_StreamImagesServer) error {
	all, err := s.listImages(req.GetFilter())
	if err != nil {
		return err
	}
	for part := range slices.Chunk(all, streamPart) {
		if err := stream.Send(&runtimeapi.StreamImagesResponse{Images: part}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) listImages(f *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	if ref := f.GetImage().GetImage(); ref != "" {
		img, err := s.images.Get(ref)
		if errors.Is(err, images.ErrNotFound) {
			return nil, nil
		}
		return []*runtimeapi.Image{criImage(img)}, err
	}
	all, err := s.images.List()
	if err != nil {
		return nil, err
	}
	var out []*runtimeapi.Image
	for _, img := range all {
		out = append(out, criImage(img))
	}
	return out, nil
}

// ImageStatus describes an image; one that is not in the store has none, which is no error.
func (s *Server) ImageStatus(_ context.Context, req *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	img, err := s.images.Get(req.GetImage().GetImage())
	if errors.Is(err, images.ErrNotFound) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.ImageStatusResponse{Image: criImage(img)}
	if req.GetVerbose() {
		config, err := s.images.ConfigBlob(img)
		if err != nil {
			return nil, err
		}
		if resp.Info, err = info(map[string]any{"imageSpec": json.RawMessage(config), "layers": img.Layers}); err != nil {
			return nil, err
		}
	}
	return resp, nil
}

// criImage translates; a numeric user is a uid, any other a name.
func criImage(img images.Image) *runtimeapi.Image {
	out := &runtimeapi.Image{
		Id: img.ID, RepoTags: img.Names, RepoDigests: img.Digests, Size: uint64(max(img.Size, 1)),
		Spec: &runtimeapi.ImageSpec{Image: img.ID},
	}
	user, _, _ := strings.Cut(img.Config.User, ":")
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil {
		out.Uid = &runtimeapi.Int64Value{Value: uid}
	} else {
		out.Username = user
	}
	return out
}

// PullImage fetches an image from its registry.
func (s *Server) PullImage(ctx context.Context, req *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	ref := req.GetImage().GetImage()
	if _, err := images.Normalize(ref); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	// An image that came from an archive is there because a person put it there, and no registry has a newer one: a pod that
	// always pulls, as every pod with an untagged image does, gets it.
	if img, err := s.images.Get(ref); err == nil && len(img.Digests) == 0 {
		return &runtimeapi.PullImageResponse{ImageRef: img.ID}, nil
	}
	img, err := s.images.Pull(ctx, ref, registryAuth(req.GetAuth()))
	if unavailable := (*images.Unavailable)(nil); errors.As(err, &unavailable) {
		// A kubelet knows the word by which the message begins, and only where the code says nothing.
		return nil, status.Errorf(codes.Unknown, "%v: failed to pull image %q: %v", crierrors.ErrRegistryUnavailable, ref, err)
	}
	if err != nil {
		return nil, status.Error(pullCode(err), fmt.Sprintf("failed to pull image %q: %v", ref, err))
	}
	return &runtimeapi.PullImageResponse{ImageRef: img.ID}, nil
}

// tellProgress logs how far a pull is that takes long.
func (s *Server) tellProgress(p images.Progress) {
	s.log.Info("pulling image", "image", p.Image, "fetched", p.Fetched, "of", p.Total, "took", p.Took.Truncate(time.Second))
}

// registryAuth translates credentials, nil for none.
func registryAuth(a *runtimeapi.AuthConfig) *authn.AuthConfig {
	if a == nil {
		return nil
	}
	return &authn.AuthConfig{
		Username: a.GetUsername(), Password: a.GetPassword(), Auth: a.GetAuth(),
		IdentityToken: a.GetIdentityToken(), RegistryToken: a.GetRegistryToken(),
	}
}

// pullCode tells an image that is not there from a registry that does not let us in.
func pullCode(err error) codes.Code {
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case 404:
			return codes.NotFound
		case 401, 403:
			return codes.PermissionDenied
		case 429:
			return codes.ResourceExhausted
		}
	}
	return codeOf(err)
}

// RemoveImage removes an image, or one of its names. One that is not there is no error.
func (s *Server) RemoveImage(_ context.Context, req *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	if req.GetImage().GetImage() == "" {
		return nil, status.Error(codes.InvalidArgument, "no image to remove")
	}
	return &runtimeapi.RemoveImageResponse{}, s.images.Remove(req.GetImage().GetImage())
}

// ImageFsInfo says where images and containers' writable layers are and what they take.
func (s *Server) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	usage, err := s.images.Usage()
	if err != nil {
		return nil, err
	}
	now := time.Now().UnixNano()
	fs := func(dir string, bytes, inodes uint64) []*runtimeapi.FilesystemUsage {
		return []*runtimeapi.FilesystemUsage{{
			Timestamp: now, FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: dir},
			UsedBytes: &runtimeapi.UInt64Value{Value: bytes}, InodesUsed: &runtimeapi.UInt64Value{Value: inodes},
		}}
	}
	return &runtimeapi.ImageFsInfoResponse{
		ImageFilesystems: fs(s.images.Dir(), usage.Bytes, usage.Inodes), ContainerFilesystems: fs(s.containerRecords(), 0, 0),
	}, nil
}
